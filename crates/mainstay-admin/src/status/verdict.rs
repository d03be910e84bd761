//! A verdict in JSON: its name, as everywhere else.

use mainstay_policy::Verdict;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

pub(super) fn serialize<S: Serializer>(verdict: &Verdict, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(verdict.as_str())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Verdict, D::Error> {
    let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
    let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == name);
    verdict.ok_or_else(|| D::Error::custom(format_args!("\"{name}\" is no verdict")))
}
