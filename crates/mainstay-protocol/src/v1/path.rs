//! Which call of the protocol a path is.
//!
//! A verb follows the model behind a colon: `/v1/models/fraud/versions/2:predict`. A colon that
//! belongs to a name is percent-encoded.

use crate::oip::path::{decode, push_segment, stays};
use crate::protocol::Called;

/// What a path asks of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Nothing: how the model is.
    Status,
    /// `/metadata`: what it takes and gives.
    Metadata,
    /// `:predict`.
    Predict,
    /// `:classify`, `:regress`, `:explain` and whatever else a server may know.
    Other,
}

/// A call about a model, and what it wants. What follows the model stands in `tail` with its
/// separator, a label with it: `:predict`, `/labels/stable:predict`.
#[must_use]
pub fn recognise(path: &str) -> Option<(Called<'_>, Verb)> {
    let rest = path.strip_prefix("/v1/models/")?;
    let end = rest.find(['/', ':']).unwrap_or(rest.len());
    let (model, tail) = rest.split_at(end);
    let model = name(model)?;
    let (version, tail) = match tail.strip_prefix("/versions/") {
        Some(rest) => {
            let end = rest.find(['/', ':']).unwrap_or(rest.len());
            let (version, tail) = rest.split_at(end);
            (Some(name(version)?), tail)
        }
        None => (None, tail),
    };
    let verb = verb(unlabelled(tail))?;
    Some((Called { model, version, tail }, verb))
}

fn name(segment: &str) -> Option<std::borrow::Cow<'_, str>> {
    decode(segment).filter(|name| !name.is_empty() && stays(name))
}

/// What follows a label, where the tail begins with one.
fn unlabelled(tail: &str) -> &str {
    let Some(rest) = tail.strip_prefix("/labels/") else { return tail };
    match rest.find(['/', ':']) {
        Some(end) if end > 0 && name(&rest[..end]).is_some() => &rest[end..],
        None if name(rest).is_some() => "",
        _ => tail,
    }
}

fn verb(tail: &str) -> Option<Verb> {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic());
    match tail {
        "" => Some(Verb::Status),
        "/metadata" => Some(Verb::Metadata),
        ":predict" => Some(Verb::Predict),
        _ => tail.strip_prefix(':').is_some_and(is_word).then_some(Verb::Other),
    }
}

/// The path of a call on a model below `prefix`. A version takes the place of a label.
#[must_use]
pub fn model_path(prefix: &str, called: &Called<'_>) -> String {
    let mut path = format!("{prefix}/v1/models/");
    push_segment(&mut path, &called.model);
    if let Some(version) = &called.version {
        path.push_str("/versions/");
        push_segment(&mut path, version);
        path.push_str(unlabelled(called.tail));
    } else {
        path.push_str(called.tail);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart() {
        let table = [
            ("/v1/models/m", Some(("m", None, "", Verb::Status))),
            ("/v1/models/m/versions/3", Some(("m", Some("3"), "", Verb::Status))),
            ("/v1/models/m/metadata", Some(("m", None, "/metadata", Verb::Metadata))),
            ("/v1/models/m:predict", Some(("m", None, ":predict", Verb::Predict))),
            ("/v1/models/m/versions/3:predict", Some(("m", Some("3"), ":predict", Verb::Predict))),
            (
                "/v1/models/m/labels/best:predict",
                Some(("m", None, "/labels/best:predict", Verb::Predict)),
            ),
            ("/v1/models/m/labels/best", Some(("m", None, "/labels/best", Verb::Status))),
            ("/v1/models/m:explain", Some(("m", None, ":explain", Verb::Other))),
            ("/v1/models/a%3Ab:predict", Some(("a:b", None, ":predict", Verb::Predict))),
            ("/v1/models/m:", None),
            ("/v1/models/:predict", None),
            ("/v1/models/..:predict", None),
            ("/v1/models/%2e%2e:predict", None),
            ("/v1/models/m/other", None),
            ("/v1/models/m/versions/:predict", None),
            ("/v1/models/", None),
            ("/v2/models/m", None),
        ];
        for (path, expected) in table {
            let found = recognise(path);
            let seen = found.as_ref().map(|(called, verb)| {
                (&*called.model, called.version.as_deref(), called.tail, *verb)
            });
            assert_eq!(seen, expected, "{path}");
        }
    }

    #[test]
    fn a_call_goes_on_under_another_name_and_version() {
        let (mut called, _) = recognise("/v1/models/m/labels/best:predict").unwrap();
        assert_eq!(model_path("/base", &called), "/base/v1/models/m/labels/best:predict");
        called.model = "a:b".into();
        called.version = Some("2".into());
        assert_eq!(model_path("", &called), "/v1/models/a%3Ab/versions/2:predict");
    }
}
