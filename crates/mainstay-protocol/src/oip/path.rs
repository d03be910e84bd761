//! Which call of the protocol a path is.
//!
//! Recognising allocates nothing unless a name is percent-encoded. What is not recognised is
//! no call of the protocol. `.` and `..` are refused as names, also when encoded: the path is
//! sent on to servers, which may resolve them.

use std::borrow::Cow;

use crate::protocol::Called;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What must be encoded inside one segment of a path: all but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One call of the protocol. Methods are not looked at: health and metadata are GET, the rest
/// is POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// `/v2/health/live`
    ServerLive,
    /// `/v2/health/ready`
    ServerReady,
    /// `/v2`
    ServerMetadata,
    /// `/v2/models/{model}[/versions/{version}]/ready`
    ModelReady {
        /// The model's name, decoded.
        model: Cow<'a, str>,
        /// The version, if the path names one.
        version: Option<Cow<'a, str>>,
    },
    /// `/v2/models/{model}[/versions/{version}]`
    ModelMetadata {
        /// The model's name, decoded.
        model: Cow<'a, str>,
        /// The version, if the path names one.
        version: Option<Cow<'a, str>>,
    },
    /// `/v2/models/{model}[/versions/{version}]/infer`
    Infer {
        /// The model's name, decoded.
        model: Cow<'a, str>,
        /// The version, if the path names one.
        version: Option<Cow<'a, str>>,
    },
    /// Anything else below a model: `generate_stream`, `config`, `stats`.
    Other {
        /// The model's name, decoded.
        model: Cow<'a, str>,
        /// The version, if the path names one.
        version: Option<Cow<'a, str>>,
        /// The rest of the path as it came, without the leading slash.
        tail: &'a str,
    },
    /// `/v2/repository/index`
    RepositoryIndex,
    /// `/v2/repository/models/{model}/load`
    RepositoryLoad {
        /// The model's name, decoded.
        model: Cow<'a, str>,
    },
    /// `/v2/repository/models/{model}/unload`
    RepositoryUnload {
        /// The model's name, decoded.
        model: Cow<'a, str>,
    },
}

impl<'a> Call<'a> {
    /// The model that the call is about, with what follows it in the path.
    #[must_use]
    pub fn into_called(self) -> Option<Called<'a>> {
        let (model, version, tail) = match self {
            Self::ModelReady { model, version } => (model, version, "ready"),
            Self::ModelMetadata { model, version } => (model, version, ""),
            Self::Infer { model, version } => (model, version, "infer"),
            Self::Other { model, version, tail } => (model, version, tail),
            Self::RepositoryLoad { model } => (model, None, "load"),
            Self::RepositoryUnload { model } => (model, None, "unload"),
            Self::ServerLive | Self::ServerReady | Self::ServerMetadata | Self::RepositoryIndex => {
                return None;
            }
        };
        Some(Called { model, version, tail })
    }
}

impl Call<'_> {
    /// The model that the call is about, if it is about one.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::ServerLive | Self::ServerReady | Self::ServerMetadata | Self::RepositoryIndex => {
                None
            }
            Self::ModelReady { model, .. }
            | Self::ModelMetadata { model, .. }
            | Self::Infer { model, .. }
            | Self::Other { model, .. }
            | Self::RepositoryLoad { model }
            | Self::RepositoryUnload { model } => Some(model),
        }
    }

    /// The version of the model that the call names.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::ModelReady { version, .. }
            | Self::ModelMetadata { version, .. }
            | Self::Infer { version, .. }
            | Self::Other { version, .. } => version.as_deref(),
            _ => None,
        }
    }
}

/// The call that `path` (without query) is, or `None`.
#[must_use]
pub fn recognise(path: &str) -> Option<Call<'_>> {
    let rest = path.strip_prefix("/v2")?;
    match rest {
        "" | "/" => Some(Call::ServerMetadata),
        "/health/live" => Some(Call::ServerLive),
        "/health/ready" => Some(Call::ServerReady),
        "/repository/index" => Some(Call::RepositoryIndex),
        _ => match rest.strip_prefix("/models/") {
            Some(rest) => below_model(rest),
            None => below_repository(rest.strip_prefix("/repository/models/")?),
        },
    }
}

fn below_model(rest: &str) -> Option<Call<'_>> {
    let (model, rest) = name(rest)?;
    let (version, tail) = match rest.strip_prefix("versions/") {
        Some(rest) => name(rest).map(|(version, tail)| (Some(version), tail))?,
        None => (None, rest),
    };
    match tail {
        "" => Some(Call::ModelMetadata { model, version }),
        "ready" => Some(Call::ModelReady { model, version }),
        "infer" => Some(Call::Infer { model, version }),
        _ if stays_put(tail) => Some(Call::Other { model, version, tail }),
        _ => None,
    }
}

fn below_repository(rest: &str) -> Option<Call<'_>> {
    match name(rest)? {
        (model, "load") => Some(Call::RepositoryLoad { model }),
        (model, "unload") => Some(Call::RepositoryUnload { model }),
        _ => None,
    }
}

/// The first segment of `rest`, decoded, and what follows its slash.
pub(crate) fn name(rest: &str) -> Option<(Cow<'_, str>, &str)> {
    let (segment, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let name = decode(segment)?;
    (!name.is_empty() && stays(&name)).then_some((name, rest))
}

/// A segment without its percent-encoding; `None` where that is no UTF-8.
#[must_use]
pub fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if segment.contains('%') {
        percent_decode_str(segment).decode_utf8().ok()
    } else {
        Some(Cow::Borrowed(segment))
    }
}

/// Whether a server that resolves dot segments would leave every segment of `path` where it is.
#[must_use]
pub fn stays_put(path: &str) -> bool {
    path.split('/').all(is_plain)
}

/// Whether a server that resolves dot segments would leave this one where it is.
fn is_plain(segment: &str) -> bool {
    decode(segment).is_some_and(|name| stays(&name))
}

/// Whether a name leads nowhere else, also for a server that decodes slashes before it resolves
/// a path.
pub(crate) fn stays(name: &str) -> bool {
    !name.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
}

/// The path of a call on a model: `{prefix}/v2/models/{model}[/versions/{version}][/{tail}]`.
/// Names are encoded; `prefix` and `tail` are taken as they are, and an empty `tail` is the
/// model's metadata.
#[must_use]
pub fn model_path(prefix: &str, model: &str, version: Option<&str>, tail: &str) -> String {
    let mut path = format!("{prefix}/v2/models/");
    push_segment(&mut path, model);
    if let Some(version) = version {
        path.push_str("/versions/");
        push_segment(&mut path, version);
    }
    if !tail.is_empty() {
        path.push('/');
        path.push_str(tail);
    }
    path
}

/// Appends a name as one segment.
pub(crate) fn push_segment(path: &mut String, name: &str) {
    path.extend(utf8_percent_encode(name, SEGMENT));
}

/// A name as one segment of a path.
#[must_use]
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

#[cfg(test)]
mod tests;
