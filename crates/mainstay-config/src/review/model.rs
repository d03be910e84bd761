//! Models: deadlines that can be kept, outputs that can be typed, chains that can be climbed.

use std::sync::Arc;
use std::time::Duration;

use mainstay_policy::budget::SENSIBLE;
use mainstay_protocol::{Protocol, TensorSpec};

use super::pool::Pools;
use super::{
    Review, balance, chain, concurrency, crossing, fallback, first_place, golden, guards, language,
    may_be_lost, outliers, paths, repetition, span_of, tcp,
};
use crate::code::Code;
use crate::config::{
    ATTEMPTS, DEADLINE, Degrade, Exhausted, Idempotency, Model, Pool, REMEMBER, Source, Step,
    TcpListener,
};
use crate::raw::{Opt, RawBatch, RawConfig, RawDegrade, RawExhausted, RawModel, RawOutput};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::{Entries, Spanned};
use crate::wording::suggestion;

/// What the steps of a chain must fit.
pub(super) struct Outputs {
    /// The declared outputs, without those that are faulty.
    pub(super) specs: Vec<TensorSpec>,
    /// Whether the first dimension counts rows.
    pub(super) batch: bool,
    /// Whether every declared output is there; if not, nothing is said of missing ones.
    pub(super) complete: bool,
    /// Whether the chain's pools speak a protocol without tensors.
    pub(super) plain: bool,
}

/// Reviews all models.
pub(super) fn models(
    review: &mut Review,
    raw: &Spanned<RawConfig>,
    (pools, listeners): (&Pools, &[TcpListener]),
) -> Vec<Model> {
    let section = raw.models.as_ref();
    let entries = section.map_or(&[][..], |section| &section.value.0);
    let tcp_alone = raw.models.is_none() && tcp::any_is_written(&raw.tcp);
    if entries.is_empty() && !tcp_alone && !review.partial && !may_be_lost(raw, &raw.models) {
        let help = "add `models:` with at least one model and its chain";
        let place = section.map_or_else(Span::default, |section| section.span);
        review.fault(Code::Missing, place, "there are no models", help);
    }
    let models: Vec<Model> =
        entries.iter().map(|(name, raw)| model(review, name, raw, pools)).collect();
    if pools.complete && !may_be_lost(raw, &raw.models) && !may_be_lost(raw, &raw.tcp) {
        unused_pools(review, &models, (pools, listeners));
    }
    engines_have_a_library(review, raw, entries);
    golden::fits(review, &models, pools);
    crossing::fits(review, &models, &pools.built, section);
    paths::once_each(review, entries);
    balance::one_key(review, &models, &pools.built, section);
    models
}

fn unused_pools(
    review: &mut Review,
    models: &[Model],
    (pools, listeners): (&Pools, &[TcpListener]),
) {
    let steps: Vec<&Step> = models.iter().flat_map(|model| &model.chain).collect();
    for (index, (pool, place)) in pools.built.iter().zip(&pools.places).enumerate() {
        let used = |step: &&Step| matches!(step.source, Source::Pool { pool, .. } if pool == index);
        let listened = listeners.iter().any(|listener| listener.pools.contains(&index));
        if pool.tcp.is_some() && !listened {
            let message = format!("no TCP listener uses the pool {:?}", pool.name);
            review.warn(Code::Unused, *place, message, "name it under `tcp`, or take it out");
        } else if pool.tcp.is_none() && !steps.iter().any(used) {
            let message = format!("no model uses the pool {:?}", pool.name);
            review.warn(Code::Unused, *place, message, "add it to a chain, or take it out");
        }
    }
}

/// Steps that ask for onnxruntime need its shared library.
fn engines_have_a_library(
    review: &mut Review,
    raw: &Spanned<RawConfig>,
    models: &[(Spanned<String>, Spanned<RawModel>)],
) {
    if raw.embedded.as_ref().is_some_and(|embedded| embedded.library.is_some() || embedded.damaged)
    {
        return;
    }
    let chains = models.iter().filter_map(|(_, model)| model.chain.as_ref());
    if let Some(place) = chains.flat_map(|chain| &chain.value).find_map(|s| chain::onnxruntime(s)) {
        let message = "engine onnxruntime needs its shared library, and none is named";
        let help = "add `embedded: {library: /path/to/libonnxruntime.so}`, or use engine tract";
        review.fault(Code::Missing, place, message, help);
    }
}

fn model(
    review: &mut Review,
    name: &Spanned<String>,
    raw: &Spanned<RawModel>,
    pools: &Pools,
) -> Model {
    check_name(review, name);
    let spoken = crossing::spoken(raw, pools);
    let plain = spoken.iter().any(|protocol| !protocol.has_tensors());
    let outputs = Outputs { plain, ..outputs(review, raw) };
    let degrade = raw.degrade.as_ref().map_or(Degrade::Allowed, |degrade| match degrade.value {
        RawDegrade::Allowed => Degrade::Allowed,
        RawDegrade::Never => Degrade::Never,
    });
    let chain = chain::chain(review, name, raw, &outputs, pools);
    let guards = guards::guards(review, &raw.guards, &outputs);
    guards::default_keeps(review, raw, (&guards, &outputs), &chain);
    if degrade == Degrade::Never {
        chain::only_equivalent(review, raw);
    }
    let deadline = review.time(&raw.deadline, DEADLINE);
    deadline_fits(review, raw, deadline, &chain, pools);
    let (last_resort, last_resort_queue) = outliers::last_resort(review, &raw.last_resort);
    let model = Model {
        name: Arc::from(name.as_str()),
        deadline,
        inputs: inputs(review, &raw.inputs),
        batch: outputs.batch,
        outputs: outputs.specs,
        paths: paths::rules(review, raw, &spoken),
        methods: paths::methods(review, &raw.methods),
        guards,
        last_resort,
        last_resort_queue,
        exhausted: exhausted(review, raw, &chain),
        chain,
        degrade,
        repeatable: raw
            .repeatable
            .as_ref()
            .map_or_else(|| !spoken.contains(&Protocol::Http), |repeatable| repeatable.value),
        attempts: attempts(review, &raw.attempts),
        concurrency: concurrency::model(review, &raw.concurrency, deadline),
        priority: concurrency::priority(&raw.priority),
        idempotency: raw
            .idempotency
            .as_ref()
            .map(|raw| Idempotency { remember: review.time(&raw.value.remember, REMEMBER) }),
        poison: repetition::poison(review, &raw.poison),
        rehearsal: fallback::rehearsal(review, raw),
        sequence: balance::sequence(review, &raw.sequence),
        continues: language::continues(&raw.continuation),
    };
    language::fits(review, raw, &model, pools);
    model
}

fn check_name(review: &mut Review, name: &Spanned<String>) {
    let fit = !name.is_empty() && name.len() <= 256 && !name.chars().any(char::is_control);
    if !fit {
        let message = format!("{:?} cannot be the name of a model", shorten(name));
        let help = "write the name that clients use in /v2/models/NAME/infer, or \"*\" for any";
        review.fault(Code::BadValue, name.span, message, help);
    }
}

fn attempts(review: &mut Review, raw: &Opt<u8>) -> u8 {
    match raw {
        Some(attempts) if attempts.value == 0 => {
            let message = "with 0 attempts no server would ever be asked";
            let help = "write 1 for a single attempt without retries";
            review.fault(Code::BadValue, attempts.span, message, help);
            ATTEMPTS
        }
        Some(attempts) => attempts.value,
        None => ATTEMPTS,
    }
}

fn exhausted(review: &mut Review, raw: &Spanned<RawModel>, chain: &[Step]) -> Exhausted {
    let Some(written) = &raw.exhausted else { return Exhausted::default() };
    match written.value {
        RawExhausted::BestAnswer => Exhausted::BestAnswer,
        RawExhausted::Error => Exhausted::Error,
        RawExhausted::Default => {
            let has_default = chain
                .iter()
                .any(|step| matches!(step.source, Source::Default { .. } | Source::Fixed(_)));
            let declared = raw.chain.as_ref().is_some_and(|chain| {
                chain.damaged || chain.iter().any(|step| step.damaged || step.default.is_some())
            });
            if !has_default && !declared && raw.chain.is_some() {
                let message = "exhausted is `default`, and the chain has no default step";
                let help = "end the chain with `- default: {OUTPUT: VALUE}`, or choose best-answer \
                            or error";
                review.fault(Code::Contradiction, written.span, message, help);
            }
            Exhausted::Default
        }
    }
}

/// A deadline must hold at least one attempt at each pool of the chain. The connect timeout that
/// nobody wrote gives way: an attempt never gets more time than its share of the deadline.
fn deadline_fits(
    review: &mut Review,
    raw: &Spanned<RawModel>,
    deadline: Duration,
    chain: &[Step],
    pools: &Pools,
) {
    let used: Vec<usize> = chain.iter().filter_map(pool_of).collect();
    let slow = used.iter().copied().find(|index| {
        pools.connect_places[*index].is_some() && pools.built[*index].connect_timeout >= deadline
    });
    if let Some(index) = slow {
        let Pool { name: pool, connect_timeout, .. } = &pools.built[index];
        let message = format!(
            "the deadline of {deadline:?} cannot hold one attempt at pool {pool:?}: connecting \
             alone may take {connect_timeout:?}"
        );
        let help = "raise deadline, or lower the pool's connect-timeout well below it";
        let place = first_place(&[span_of(&raw.deadline), pools.connect_places[index]], raw.span);
        review.fault(Code::Times, place, message, help);
    } else if !used.is_empty() && deadline < SENSIBLE {
        let message = format!(
            "the deadline of {deadline:?} cannot hold one attempt at a server: less than \
             {SENSIBLE:?} is not worth sending a request for"
        );
        let place = first_place(&[span_of(&raw.deadline)], raw.span);
        review.fault(Code::Times, place, message, "raise deadline");
    }
}

const fn pool_of(step: &Step) -> Option<usize> {
    match step.source {
        Source::Pool { pool, .. } => Some(pool),
        Source::Embedded { .. }
        | Source::LastGood(_)
        | Source::Default { .. }
        | Source::Fixed(_) => None,
    }
}

fn outputs(review: &mut Review, raw: &Spanned<RawModel>) -> Outputs {
    let written = raw.outputs.as_ref();
    let entries = written.map_or(&[][..], |outputs: &Spanned<Entries<RawOutput>>| &outputs.value.0);
    let specs: Vec<TensorSpec> =
        entries.iter().filter_map(|(name, raw)| tensor(review, "output", (name, raw))).collect();
    let batch =
        matches!(&raw.batch, Some(batch) if matches!(batch.value, RawBatch::FirstDimension));
    if batch {
        batch_fits(review, entries, &specs);
    }
    let damaged = may_be_lost(raw, &raw.outputs);
    let complete = !damaged && specs.len() == entries.len();
    Outputs { complete, specs, batch, plain: false }
}

/// The inputs; faulty ones are left out.
fn inputs(review: &mut Review, raw: &Opt<Entries<RawOutput>>) -> Vec<TensorSpec> {
    let entries = raw.as_ref().map_or(&[][..], |inputs| &inputs.value.0);
    entries.iter().filter_map(|(name, raw)| tensor(review, "input", (name, raw))).collect()
}

/// A tensor as an input or an output, which `what` says.
fn tensor(
    review: &mut Review,
    what: &str,
    (name, raw): (&Spanned<String>, &Spanned<RawOutput>),
) -> Option<TensorSpec> {
    let example = "write for example {datatype: FP32, shape: [-1, 2]}";
    let (Some(datatype), Some(shape)) = (&raw.datatype, &raw.shape) else {
        if !raw.damaged {
            let message = format!("{what} {:?} needs a datatype and a shape", name.value);
            review.fault(Code::Missing, name.span, message, example);
        }
        return None;
    };
    let parsed = datatype.parse::<mainstay_protocol::Datatype>();
    if parsed.is_err() {
        let names = mainstay_protocol::Datatype::NAMES.iter().map(|(_, name)| *name);
        let help = suggestion(&datatype.to_uppercase(), names, "the datatypes are");
        let message = format!("{:?} is no datatype", shorten(datatype));
        review.fault(Code::BadValue, datatype.span, message, help);
    }
    let dimensions: Option<Vec<_>> = shape.iter().map(|size| dimension(review, size)).collect();
    if shape.damaged {
        return None;
    }
    Some(TensorSpec { name: name.value.clone(), datatype: parsed.ok()?, shape: dimensions? })
}

fn dimension(review: &mut Review, size: &Spanned<i64>) -> Option<Option<usize>> {
    match size.value {
        -1 => Some(None),
        1..=0x7fff_ffff => Some(usize::try_from(size.value).ok()),
        _ => {
            let help = "write -1 for a dimension of any size";
            let message = format!("a dimension cannot be {}", size.value);
            review.fault(Code::BadValue, size.span, message, help);
            None
        }
    }
}

/// Where rows are split and merged, every output must have a row dimension of any size.
fn batch_fits(
    review: &mut Review,
    entries: &[(Spanned<String>, Spanned<RawOutput>)],
    specs: &[TensorSpec],
) {
    for spec in specs.iter().filter(|spec| spec.shape.first().is_none_or(Option::is_some)) {
        let place = entries.iter().find(|(name, _)| name.value == spec.name);
        let Some((name, raw)) = place else { continue };
        let message = format!(
            "output {:?} has no row dimension, and batch says that the first one counts rows",
            spec.name
        );
        let help = "begin its shape with -1, or take `batch: first-dimension` out";
        let place = raw.shape.as_ref().map_or(name.span, |shape| shape.span);
        review.fault(Code::Contradiction, place, message, help);
    }
}
