//! The sources inside the gateway: embedded models and default predictions.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use mainstay_config::Fixed;
use mainstay_policy::chain::Reason;
use mainstay_protocol::oip::answer::{self, Response};
use mainstay_protocol::oip::{default, metadata};
use mainstay_protocol::{Data, Error, Tensor, form};

use super::ask::{Ask, Kind};
use super::assembly::Assembly;
use crate::embedded::Embedded;
use crate::last_good::Kept;
use crate::snapshot::Source;
use crate::worker::Worker;

/// How default predictions are named in marks.
const DEFAULT: &str = "default";
/// How remembered answers are.
const LAST_GOOD: &str = "last-good";

/// What a source inside the gateway says.
pub(super) enum Said {
    /// An answer for the rows that were open.
    Answer(Response),
    /// What servers answered to the same before, and how long ago in seconds.
    Again(Arc<Kept>, u64),
    /// One and the same body for everybody.
    Fixed(Fixed),
    /// What the model takes and gives.
    Metadata(Bytes),
    /// The request cannot be read, by anyone.
    Broken(Error),
    /// The request can be read, and does not fit this source.
    Misfit(mainstay_onnx::Error),
    /// Nothing, and why.
    Nothing(Reason),
}

/// Who a source is, in marks.
pub(super) fn label(source: &Source) -> Arc<str> {
    match source {
        Source::Pool(pool) => Arc::clone(&pool.name),
        Source::Embedded(embedded) => Arc::clone(&embedded.label),
        Source::LastGood => Arc::from(LAST_GOOD),
        Source::Default(_) | Source::Fixed(_) => Arc::from(DEFAULT),
    }
}

/// Asks the source at `step` for what is still open of `ask`.
pub(super) async fn ask(worker: &Worker, ask: &Ask, assembly: &mut Assembly, step: usize) -> Said {
    let source = &ask.route.steps[step].source;
    if let (Source::Fixed(fixed), Kind::Infer) = (source, ask.kind)
        && ask.route.speaks == Some(ask.protocol)
    {
        return Said::Fixed(fixed.clone());
    }
    if ask.kind == Kind::Infer && !ask.protocol.has_tensors() {
        return Said::Nothing(Reason::NotTranslated);
    }
    if ask.kind == Kind::Infer && !is_readable(ask) {
        return Said::Nothing(Reason::NotRepeatable);
    }
    match (source, ask.kind) {
        (Source::Pool(_) | Source::Fixed(_), _)
        | (_, Kind::Other)
        | (Source::LastGood, Kind::Metadata) => Said::Nothing(Reason::NoEndpoint),
        (Source::Embedded(embedded), Kind::Metadata) => describe_embedded(ask, embedded),
        (Source::Default(_), Kind::Metadata) => Said::Metadata(describe_default(ask)),
        (Source::Embedded(embedded), Kind::Infer) => {
            predict(worker, ask, assembly, (embedded, step)).await
        }
        (Source::LastGood, Kind::Infer) => remembered(worker, ask, assembly).await,
        (Source::Default(outputs), Kind::Infer) => fixed(ask, assembly, outputs),
    }
}

/// Whether the gateway has the body and can read it: one that was streamed through is gone, and
/// a compressed one only servers can read.
fn is_readable(ask: &Ask) -> bool {
    ask.body().is_some() && !ask.headers.contains_key(CONTENT_ENCODING)
}

async fn predict(
    worker: &Worker,
    ask: &Ask,
    assembly: &mut Assembly,
    (embedded, step): (&Embedded, usize),
) -> Said {
    let Some(model) = embedded.model() else {
        return Said::Nothing(Reason::EmbeddedUnavailable);
    };
    let inputs = match assembly.remaining_inputs(ask) {
        Ok(inputs) => inputs,
        Err(error) => return unread(error),
    };
    // What stands behind it keeps its share of the time.
    let remaining = ask.deadline.remaining(worker.clock.now());
    let remaining = remaining.saturating_sub(ask.plan().reserve(step, remaining));
    let running = worker.shared.executor.run(model, inputs);
    match tokio::time::timeout(remaining, running).await {
        Err(_) => Said::Nothing(Reason::OutOfTime),
        Ok(Err(error)) if error.fault() == mainstay_onnx::Fault::Client => Said::Misfit(error),
        Ok(Err(error)) => {
            tracing::debug!(%error, model = %embedded.label, "an embedded model did not answer");
            Said::Nothing(Reason::EmbeddedUnavailable)
        }
        // A guard, where there is one, says row by row which are not.
        Ok(Ok(outputs)) if ask.route.guards.each.finite || outputs.iter().all(is_finite) => {
            response(ask, assembly, outputs)
        }
        Ok(Ok(_)) => Said::Nothing(Reason::EmbeddedUnavailable),
    }
}

/// What servers answered to the same before; only the open rows of it, where others have theirs.
async fn remembered(worker: &Worker, ask: &Ask, assembly: &mut Assembly) -> Said {
    let (Some(rule), Some(question)) = (&ask.route.last_good, ask.question()) else {
        return Said::Nothing(Reason::NoEndpoint);
    };
    let now = worker.clock.wall(worker.clock.now());
    let found = worker.shared.last_good.get(question, rule, now);
    let left = ask.deadline.remaining(worker.clock.now());
    match tokio::time::timeout(left, found).await {
        Err(_) => Said::Nothing(Reason::OutOfTime),
        Ok(None) => Said::Nothing(Reason::NoEndpoint),
        Ok(Some((kept, age))) if !assembly.has_best() => Said::Again(kept, age),
        Ok(Some((kept, _))) => match open_rows(ask, assembly, &kept) {
            Ok(answer) => Said::Answer(answer),
            Err(_) => Said::Nothing(Reason::NoEndpoint),
        },
    }
}

fn open_rows(ask: &Ask, assembly: &Assembly, kept: &Kept) -> Result<Response, Error> {
    let whole = form::read_answer(ask.protocol, (&kept.body, kept.json_len), ask.context())?;
    match assembly.open_rows() {
        Some(rows) => answer::select_rows(&whole, rows),
        None => Ok(whole),
    }
}

/// The default prediction, once for each open row. Where an answer is at hand that was only not
/// confident enough, the route says which of the two is better.
fn fixed(ask: &Ask, assembly: &mut Assembly, outputs: &[Tensor]) -> Said {
    if !assembly.wants_default(ask.route.exhausted) {
        return Said::Nothing(Reason::LowConfidence);
    }
    let rows = match assembly.remaining_rows(ask) {
        Ok(rows) => rows,
        Err(error) => return unread(error),
    };
    match default::tensors(outputs, rows, ask.route.batch) {
        Ok(outputs) => response(ask, assembly, outputs),
        Err(error) => Said::Broken(error),
    }
}

fn response(ask: &Ask, assembly: &Assembly, outputs: Vec<Tensor>) -> Said {
    match assembly.outline(ask) {
        Ok(request) => Said::Answer(Response {
            model_name: model_name(ask),
            id: request.id.clone(),
            outputs,
            ..Response::default()
        }),
        Err(error) => unread(error),
    }
}

/// A request that cannot be read is broken, unless only this reader does not know enough.
fn unread(error: Error) -> Said {
    match error.is_untranslatable() {
        true => Said::Nothing(Reason::NotTranslated),
        false => Said::Broken(error),
    }
}

/// The name by which the client asked.
fn model_name(ask: &Ask) -> String {
    ask.called().model.into_owned()
}

fn is_finite(tensor: &Tensor) -> bool {
    match &tensor.data {
        Data::Fp32(values) => values.iter().all(|value| value.is_finite()),
        Data::Fp64(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    }
}

fn describe_embedded(ask: &Ask, embedded: &Embedded) -> Said {
    let Some(model) = embedded.model() else {
        return Said::Nothing(Reason::EmbeddedUnavailable);
    };
    let described = metadata::Model {
        name: model_name(ask),
        versions: Vec::new(),
        platform: "mainstay-embedded".to_owned(),
        inputs: model.inputs().to_vec(),
        outputs: model.outputs().to_vec(),
    };
    Said::Metadata(form::write_metadata(ask.protocol, &described))
}

fn describe_default(ask: &Ask) -> Bytes {
    let described = metadata::Model {
        name: model_name(ask),
        versions: Vec::new(),
        platform: "mainstay-default".to_owned(),
        inputs: Vec::new(),
        outputs: ask.route.outputs.clone(),
    };
    form::write_metadata(ask.protocol, &described)
}
