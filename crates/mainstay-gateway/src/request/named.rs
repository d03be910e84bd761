//! Requests whose body names the model.

use hyper::body::Incoming;
use mainstay_policy::Moment;
use mainstay_protocol::{Protocol, form};

use super::admit::{Admitted, admit};
use super::ask::{Ask, Payload};
use super::fault::Fault;
use super::own;
use super::recognise::Nameless;
use super::talk::{self, Talk};
use crate::flight::Flight;

/// Reads the body as far as it takes to know the model; gives the request and the time then.
pub(super) async fn ask(
    flight: &mut Flight,
    mut nameless: Nameless,
    body: Incoming,
) -> Result<(Ask, Moment), Fault> {
    let admitted: Admitted = admit((&*flight.worker, flight.started()), body).await?;
    let Payload::Kept(bytes) = &admitted.payload else {
        return Err(Fault::too_large(flight.worker.view().limits.replay));
    };
    let bytes = bytes.clone();
    if nameless.protocol == Protocol::OpenAi {
        nameless.talk = Some(Talk::read(nameless.uri(), &bytes)?);
    }
    let other = form::model_name(nameless.protocol, &bytes);
    let name = talk::named(nameless.talk.as_deref(), other)?;
    let route = own::route(&flight.worker, &name).map_err(|fault| nameless.hidden(fault))?;
    flight.ask_for(&route, nameless.protocol);
    let now = admitted.now;
    nameless.ask(route, &name, admitted).map(|ask| (ask, now))
}
