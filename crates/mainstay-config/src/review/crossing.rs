//! Chains over several protocols: only where every request can be said in each of them.
//!
//! What one pool is asked, all of the chain may be. Between protocols of tensors the gateway
//! translates, as far as the model's declaration gives the names and datatypes that a message does
//! not have; every other protocol only reaches itself.

use mainstay_protocol::{Datatype, Protocol, TensorSpec};

use super::pool::Pools;
use super::{Review, span_of};
use crate::code::Code;
use crate::config::{Model, Pool, Source, Step};
use crate::raw::RawModel;
use crate::source::Span;
use crate::spanned::{Entries, Spanned};

/// What the pools of a chain speak, in its order, each once.
pub(super) fn spoken(raw: &RawModel, pools: &Pools) -> Vec<Protocol> {
    let mut spoken = Vec::new();
    let steps = raw.chain.as_ref().map_or(&[][..], |chain| chain.value.as_slice());
    for name in steps.iter().filter_map(|step| step.pool.as_ref()) {
        let pool = pools.built.iter().find(|pool| *pool.name == *name.value);
        if let Some(protocol) = pool.map(|pool| pool.protocol).filter(|it| !spoken.contains(it)) {
            spoken.push(protocol);
        }
    }
    spoken
}

/// Every source of a chain must be able to answer what the others are asked.
pub(super) fn fits(
    review: &mut Review,
    models: &[Model],
    pools: &[Pool],
    raw: Option<&Spanned<Entries<RawModel>>>,
) {
    for (at, model) in models.iter().enumerate() {
        let Some((_, written)) = raw.and_then(|models| models.value.0.get(at)) else { continue };
        let protocols = protocols(model, pools);
        let place = span_of(&written.chain).unwrap_or_default();
        let Some(first) = protocols.first().copied() else { continue };
        if let Some(other) = protocols.iter().find(|other| !first.reaches(**other)) {
            let message = format!(
                "the pools of model {:?} cannot stand in for each other: what is asked in {first} \
                 cannot be said in {other}",
                model.name
            );
            let help = "give each protocol a model of its own";
            review.fault(Code::Apart, place, message, help);
        } else if first.has_tensors() {
            tensors(review, model, &protocols, (written, place));
        } else {
            bodies(review, model, first, place);
        }
    }
}

fn protocols(model: &Model, pools: &[Pool]) -> Vec<Protocol> {
    let mut found: Vec<Protocol> = Vec::new();
    for step in &model.chain {
        let Source::Pool { pool, .. } = step.source else { continue };
        found.extend(pools.get(pool).map(|pool| pool.protocol).filter(|it| !found.contains(it)));
    }
    found
}

/// What the V1 protocol leaves open, the declaration must say, wherever somebody needs to know.
fn tensors(
    review: &mut Review,
    model: &Model,
    protocols: &[Protocol],
    (written, place): (&Spanned<RawModel>, Span),
) {
    if !protocols.contains(&Protocol::V1) {
        return;
    }
    let embedded = |step: &Step| matches!(step.source, Source::Embedded { .. });
    let crosses = protocols.len() > 1 || model.chain.iter().any(embedded);
    let looks = crosses || !model.guards.is_empty();
    // What is written with faults has been told.
    let lacking = [
        ("inputs", crosses && model.inputs.is_empty() && written.inputs.is_none()),
        ("outputs", looks && model.outputs.is_empty() && written.outputs.is_none()),
    ];
    for (what, _) in lacking.iter().filter(|(_, lacks)| *lacks && !written.damaged) {
        let message = format!(
            "the V1 protocol neither names nor types tensors, and the {what} of model {:?} are \
             not declared",
            model.name
        );
        let help = format!("add `{what}: {{NAME: {{datatype: FP32, shape: [-1, 4]}}}}`");
        review.fault(Code::Undeclared, place, message, help);
    }
    if crosses {
        for spec in model.inputs.iter().chain(&model.outputs) {
            sayable(review, model, spec, place);
        }
    }
}

fn sayable(review: &mut Review, model: &Model, spec: &TensorSpec, place: Span) {
    let (name, datatype) = (&spec.name, spec.datatype);
    let why = match datatype {
        Datatype::Fp16 | Datatype::Bf16 => format!("it is {datatype}, which JSON cannot carry"),
        _ if name == "b64" => "an object with this one member stands for bytes there".to_owned(),
        _ => return,
    };
    let message = format!("the V1 protocol has no words for {name:?} of {:?}: {why}", model.name);
    let help = "give the model pools of one protocol, or another tensor";
    review.fault(Code::Untranslatable, place, message, help);
}

/// A protocol without tensors is answered by servers, or by a body that says nothing of inputs.
fn bodies(review: &mut Review, model: &Model, protocol: Protocol, place: Span) {
    let source = |step: &Step| match step.source {
        Source::Embedded { .. } => Some("an embedded model"),
        Source::LastGood(_) => Some("a last good answer"),
        _ => step.confidence.is_some().then_some("a confidence rule"),
    };
    let guards = || (!model.guards.is_empty()).then_some("a guard");
    let rehearsal = || model.rehearsal.map(|_| "a rehearsal");
    let found = model.chain.iter().find_map(source).or_else(guards).or_else(rehearsal);
    if let Some(what) = found {
        let message = format!("messages of {protocol} are no tensors, so {what} means nothing");
        let help = "fall back on pools and a default: {json: VALUE}";
        review.fault(Code::Apart, place, message, help);
    }
    let renamed = |step: &Step| match &step.source {
        Source::Pool { model, version, .. } => model.is_some() || version.is_some(),
        _ => false,
    };
    if protocol == Protocol::Http && model.chain.iter().any(renamed) {
        let message = "plain HTTP passes paths on as they come, so `model` and `version` of a \
                       step mean nothing";
        review.fault(Code::Apart, place, message, "take them out");
    }
}
