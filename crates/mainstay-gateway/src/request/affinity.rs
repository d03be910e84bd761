//! What a request is kept together by with others: a header, the first value of an
//! input, or the beginning of a prompt.

use mainstay_config::Key as From;
use mainstay_policy::balance::Key;
use mainstay_protocol::form;

use super::ask::{Ask, Kind};

/// The request's key; `None` where its model's pools hash none, or it has none.
pub(super) fn key(ask: &Ask) -> Option<Key> {
    match ask.route.key.as_ref()? {
        From::Header(name) => ask.headers.get(name).map(|value| Key::of(value.as_bytes())),
        From::Input(name) if ask.kind == Kind::Infer => {
            form::first_value(ask.protocol, (ask.body()?, ask.json_len), name)
                .map(|value| Key::of(&value))
        }
        From::PromptPrefix(most) => Some(ask.talk.as_ref()?.prefix_key(ask.body()?, *most)),
        From::Input(_) | From::Client => None,
    }
}
