//! Pages of other sites that may ask from a browser.

use std::time::Duration;

use http::HeaderValue;

/// Which pages may ask, and what. Lists are as their headers carry them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cors {
    /// Where they come from.
    pub origins: Origins,
    /// Methods that they may use. Default GET and POST.
    pub methods: HeaderValue,
    /// Headers that they may send.
    pub headers: HeaderValue,
    /// Headers of answers that they may read.
    pub expose: HeaderValue,
    /// Whether browsers send along by what they know the user. Default false.
    pub credentials: bool,
    /// How long the answer to a preflight request holds. Default 10 min.
    pub max_age: Duration,
}

/// Where pages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Anywhere.
    Any,
    /// One of these, in lower case.
    These(Vec<HeaderValue>),
}
