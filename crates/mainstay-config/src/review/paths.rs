//! Paths of plain HTTP: there where they are needed, sound, and of one model alone.

use std::collections::HashMap;

use http::Method;
use mainstay_protocol::Protocol;

use super::{Review, may_be_lost};
use crate::code::Code;
use crate::config::PathRule;
use crate::raw::{Opt, RawModel};
use crate::reader::shorten;
use crate::source::Span;
use crate::spanned::Spanned;

/// Paths that the gateway knows by itself, with all that is below them.
const TAKEN: [&str; 12] = [
    "/v2",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/predictions",
    "/explanations",
    "/ping",
    "/models",
    "/inference.GRPCInferenceService",
    "/grpc.health.v1.Health",
];

/// The paths of a model whose pools speak these.
pub(super) fn rules(
    review: &mut Review,
    raw: &Spanned<RawModel>,
    spoken: &[Protocol],
) -> Vec<PathRule> {
    let plain = spoken.contains(&Protocol::Http);
    let Some(written) = &raw.paths else {
        if plain && !may_be_lost(raw, &raw.paths) {
            let place = raw.chain.as_ref().map_or(raw.span, |chain| chain.span);
            let message = "the model's pools speak plain HTTP, and it declares no paths";
            let help = "add for example `paths: [/invocations, \"/score/*\"]`";
            review.fault(Code::Paths, place, message, help);
        }
        return Vec::new();
    };
    if !plain && !spoken.is_empty() {
        let message = "only models whose pools have `protocol: http` have paths of their own";
        review.fault(Code::Paths, written.span, message, "take `paths` out");
    }
    if written.value.is_empty() && !written.damaged {
        let help = "write for example [/invocations, \"/score/*\"]";
        review.fault(Code::Paths, written.span, "there are no paths", help);
    }
    written.value.iter().filter_map(|path| rule(review, path)).collect()
}

fn rule(review: &mut Review, written: &Spanned<String>) -> Option<PathRule> {
    let rule = PathRule::parse(written);
    if rule.is_none() {
        let message = format!("{:?} is no path that a model can have", shorten(written));
        let help = "write /score for one path, or \"/score/*\" for all below it; without a query, \
                    percent signs, or dots for other folders";
        review.fault(Code::Paths, written.span, message, help);
    }
    let taken = |path: &&&str| {
        let below = written.strip_prefix(**path);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(path) = TAKEN.iter().find(taken) {
        let message = format!("{path} is a path of another protocol, which the gateway answers");
        review.fault(Code::Paths, written.span, message, "choose another one");
    }
    rule
}

/// No two models have the same path.
pub(super) fn once_each(review: &mut Review, models: &[(Spanned<String>, Spanned<RawModel>)]) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    let paths = models.iter().filter_map(|(_, model)| model.paths.as_ref());
    for path in paths.flat_map(|paths| &paths.value) {
        if let Some(first) = seen.insert(path, path.span) {
            let line = review.line(first);
            let message = format!("{:?} is declared on line {line} already", shorten(path));
            review.fault(Code::Paths, path.span, message, "give each model paths of its own");
        }
    }
}

/// The methods that are taken; none stands for any.
pub(super) fn methods(review: &mut Review, raw: &Opt<Vec<Spanned<String>>>) -> Vec<Method> {
    let written = raw.as_ref().map_or(&[][..], |methods| methods.value.as_slice());
    let mut methods = Vec::with_capacity(written.len());
    for text in written {
        match text.parse::<Method>() {
            Ok(method) if text.chars().all(|c| c.is_ascii_uppercase()) => methods.push(method),
            _ => {
                let message = format!("{:?} is no HTTP method", shorten(text));
                review.fault(Code::BadValue, text.span, message, "write for example GET or POST");
            }
        }
    }
    methods
}
