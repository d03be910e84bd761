//! `TorchServe`'s inference API: bodies of any kind, passed through; the path names the model.
//!
//! Source: TorchServe's `docs/inference_api.md`.

use bytes::Bytes;

use crate::oip::path::{name, push_segment};
use crate::protocol::Called;

/// What follows from a path that asks for an explanation instead of a prediction.
pub const EXPLANATIONS: &str = "explanations";

/// The model that a path names: `/predictions/{model}[/{version}]`, or the same below
/// `/explanations`, which is the tail then.
#[must_use]
pub fn recognise(path: &str) -> Option<Called<'_>> {
    let (rest, tail) = match path.strip_prefix("/predictions/") {
        Some(rest) => (rest, ""),
        None => (path.strip_prefix("/explanations/")?, EXPLANATIONS),
    };
    let (model, rest) = name(rest)?;
    let version = match rest {
        "" => None,
        _ => match name(rest)? {
            (version, "") => Some(version),
            _ => return None,
        },
    };
    Some(Called { model, version, tail })
}

/// The path of a call on a model below `prefix`.
#[must_use]
pub fn model_path(prefix: &str, called: &Called<'_>) -> String {
    let call = if called.tail == EXPLANATIONS { EXPLANATIONS } else { "predictions" };
    let mut path = format!("{prefix}/{call}/");
    push_segment(&mut path, &called.model);
    if let Some(version) = &called.version {
        path.push('/');
        push_segment(&mut path, version);
    }
    path
}

/// The body that answers `GET /ping`.
#[must_use]
pub fn ping(healthy: bool) -> Bytes {
    let status = if healthy { "Healthy" } else { "Unhealthy" };
    serde_json::json!({ "status": status }).to_string().into()
}

/// The body that answers `GET /models`.
#[must_use]
pub fn models<'a>(names: impl Iterator<Item = &'a str>) -> Bytes {
    let models: Vec<_> = names.map(|name| serde_json::json!({ "modelName": name })).collect();
    serde_json::json!({ "models": models }).to_string().into()
}

/// The body of an error.
#[must_use]
pub fn error(status: u16, kind: &str, message: &str) -> Bytes {
    serde_json::json!({ "code": status, "type": kind, "message": message }).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_model_and_version() {
        let named = |path| recognise(path).map(|it| (it.model.into_owned(), it.version, it.tail));
        let owned = |text: &str| text.to_owned();
        assert_eq!(named("/predictions/a%20b"), Some((owned("a b"), None, "")));
        let explained = Some((owned("m"), Some("2.0".into()), EXPLANATIONS));
        assert_eq!(named("/explanations/m/2.0"), explained);
        for path in ["/predictions/", "/predictions/../x", "/predictions/m/1/2", "/models/m"] {
            assert_eq!(named(path), None, "{path}");
        }
    }

    #[test]
    fn a_call_goes_on_under_another_name() {
        let mut called = recognise("/explanations/m/1").unwrap();
        assert_eq!(model_path("/p", &called), "/p/explanations/m/1");
        called.model = "a/b".into();
        assert_eq!(model_path("", &called), "/explanations/a%2Fb/1");
    }
}
