//! Follows a Sentinel: which server does it name as primary?
//!
//! It is asked once a second, and at once when it announces anything: an announcement alone could
//! be missed while a connection is made anew.

use std::io;
use std::time::Duration;

use mainstay_config::{EndpointUrl, Login, Sentinel};
use mainstay_protocol::redis::{self, Named, Reply};
use mainstay_tls::Stream;
use mainstay_tls::client::Speak;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::check::redis::answer;

/// Between two questions, when nothing is announced.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// For one connection, and for one answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// A connection to a Sentinel.
struct Talk {
    stream: Stream,
    read: Vec<u8>,
}

/// Tells whom this Sentinel names, again and again, until it cannot be asked any more.
///
/// # Errors
/// Why it could not.
pub async fn follow(
    address: &EndpointUrl,
    sentinel: &Sentinel,
    tell: impl Fn(Option<Named>) + Send + Sync,
) -> io::Result<()> {
    let mut heard = Talk::open(address, sentinel.login.as_ref()).await?;
    heard.say(&["SUBSCRIBE", "+switch-master"]).await?;
    let mut asked = Talk::open(address, sentinel.login.as_ref()).await?;
    loop {
        asked.say(&["SENTINEL", "MASTER", &sentinel.master]).await?;
        let answer = timeout(ANSWERED_WITHIN, asked.hear()).await??;
        tell(redis::named_primary(&answer));
        if let Ok(announced) = timeout(ASK_EVERY, heard.hear()).await {
            announced?;
        }
    }
}

impl Talk {
    async fn open(address: &EndpointUrl, login: Option<&Login>) -> io::Result<Self> {
        let opening =
            Stream::open((&*address.host, address.port), address.tls.as_deref(), Speak::Http1);
        let opened = timeout(ANSWERED_WITHIN, opening).await?;
        let stream = opened.map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut talk = Self { stream, read: Vec::new() };
        if let Some(login) = login {
            let password = login.password.expose();
            match login.user.as_deref() {
                Some(user) => talk.say(&["AUTH", user, password]).await?,
                None => talk.say(&["AUTH", password]).await?,
            }
            if let Reply::Error(why) = timeout(ANSWERED_WITHIN, talk.hear()).await?? {
                return Err(io::Error::other(why));
            }
        }
        Ok(talk)
    }

    async fn say(&mut self, words: &[&str]) -> io::Result<()> {
        let mut question = Vec::new();
        redis::write(words, &mut question);
        self.stream.write_all(&question).await
    }

    async fn hear(&mut self) -> io::Result<Reply> {
        answer(&mut self.stream, &mut self.read).await
    }
}
