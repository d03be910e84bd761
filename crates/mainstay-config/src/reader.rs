//! Typed structs out of the tree, with every fault on the way.
//!
//! A serde deserializer over [`Tree`] stops at the first fault, as any does; but its error names
//! the node at fault. [`read`] reports it, marks the node so that readers pass over it, and
//! reads again, until what is left can be read. That costs one reading for each fault and keeps
//! the raw structs plain `#[derive(Deserialize)]`.

use std::fmt;

use serde::de::{self, DeserializeOwned, Expected, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use crate::spanned;
use crate::tree::{Id, Kind, Tree};

mod access;

use access::{Choice, Entries, Items, Placed};

/// After so many faults the file is not worth reading further.
const MAX_FAULTS: usize = 100;

/// Why a node could not be read.
#[derive(Debug)]
pub(crate) struct Fail {
    /// The innermost node at fault.
    pub(crate) node: Option<Id>,
    pub(crate) cause: Cause,
}

/// What is wrong with a node; texts as serde and the visitors phrase them.
#[derive(Debug)]
pub(crate) enum Cause {
    UnknownKey { key: String, known: &'static [&'static str] },
    UnknownChoice { found: String, known: &'static [&'static str] },
    WrongType { found: String, expected: String },
    BadValue { found: String, expected: String },
    Missing(&'static str),
    Other(String),
}

/// Reads a `T` from `root`; the faults met on the way have been marked in the tree.
/// `None` when nothing could be read.
pub(crate) fn read<T: DeserializeOwned>(
    tree: &mut Tree,
    root: Id,
    mut report: impl FnMut(&Tree, Id, Cause),
) -> Option<T> {
    for _ in 0..MAX_FAULTS {
        match T::deserialize(Reader { tree, id: root }) {
            Ok(value) => return Some(value),
            Err(fail) => {
                let node = fail.node.unwrap_or(root);
                report(tree, node, fail.cause);
                if node == root {
                    return None;
                }
                tree.mark_faulty(node);
            }
        }
    }
    None
}

impl Fail {
    const fn new(cause: Cause) -> Self {
        Self { node: None, cause }
    }

    /// Names the node at fault, unless a deeper one is named already.
    const fn at(mut self, id: Id) -> Self {
        if self.node.is_none() {
            self.node = Some(id);
        }
        self
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.cause)
    }
}

impl std::error::Error for Fail {}

impl de::Error for Fail {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Cause::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, expected) = (describe(&found), expected.to_string());
        Self::new(Cause::WrongType { found, expected })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, expected) = (describe(&found), expected.to_string());
        Self::new(Cause::BadValue { found, expected })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Cause::UnknownKey { key: key.to_owned(), known })
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Cause::UnknownChoice { found: found.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Cause::Missing(key))
    }
}

/// What was found, in the words of YAML's users.
fn describe(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the text {:?}", shorten(text)),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map | Unexpected::StructVariant => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// The beginning of a text: messages never echo more.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(std::iter::once('…')).collect()
}

/// A deserializer for one node.
#[derive(Clone, Copy)]
struct Reader<'t> {
    tree: &'t Tree,
    id: Id,
}

impl<'t> Reader<'t> {
    const fn child(self, id: Id) -> Self {
        Self { tree: self.tree, id }
    }

    fn list(self, items: &'t [Id]) -> Items<'t> {
        Items { tree: self.tree, rest: items.iter() }
    }

    fn map(self, entries: &'t [(Id, Id)]) -> Entries<'t> {
        Entries { tree: self.tree, rest: entries.iter(), value: None }
    }

    fn visit_number<V: Visitor<'t>>(self, text: &str, visitor: V) -> Result<V::Value, Fail> {
        if let Ok(number) = text.parse::<u64>() {
            visitor.visit_u64(number)
        } else if let Ok(number) = text.parse::<i64>() {
            visitor.visit_i64(number)
        } else if let Ok(number) = text.parse::<f64>() {
            visitor.visit_f64(number)
        } else {
            visitor.visit_str(text)
        }
    }

    fn visit_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fail> {
        match &self.tree.node(self.id).kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Number(text) => self.visit_number(text, visitor),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::List(items) => visitor.visit_seq(self.list(items)),
            Kind::Map(entries) => visitor.visit_map(self.map(entries)),
        }
    }

    /// A mapping, for which an empty value may stand: `breaker:` with nothing behind it.
    fn visit_mapping<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fail> {
        match &self.tree.node(self.id).kind {
            Kind::Null => visitor.visit_map(self.map(&[])),
            _ => self.visit_any(visitor),
        }
    }

    /// A choice: its name alone, or a mapping from its name to its settings.
    fn visit_choice<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fail> {
        match self.tree.entries(self.id) {
            [] if self.tree.text(self.id).is_some() => {
                visitor.visit_enum(Choice { name: self, settings: None })
            }
            [(key, value)] => visitor
                .visit_enum(Choice { name: self.child(*key), settings: Some(self.child(*value)) }),
            _ => Err(Fail::new(Cause::WrongType {
                found: describe_kind(&self.tree.node(self.id).kind).to_owned(),
                expected: "one choice: its name, or a mapping with its name as the only key"
                    .to_owned(),
            })),
        }
    }
}

const fn describe_kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null => "nothing",
        Kind::Bool(_) => "a boolean",
        Kind::Number(_) => "a number",
        Kind::Text(_) => "a text",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a mapping with other than one key",
    }
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = Fail;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.visit_any(visitor).map_err(|fail| fail.at(self.id))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        match self.tree.node(self.id).kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|fail| fail.at(self.id))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        match self.tree.text(self.id) {
            Some(text) => visitor.visit_str(text).map_err(|fail: Fail| fail.at(self.id)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.deserialize_str(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fail> {
        self.visit_mapping(visitor).map_err(|fail| fail.at(self.id))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        self.visit_choice(visitor).map_err(|fail| fail.at(self.id))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fail> {
        if name == spanned::MARKER {
            visitor.visit_seq(Placed { reader: self, next: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
        .map_err(|fail| fail.at(self.id))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf
        unit unit_struct seq tuple tuple_struct ignored_any
    }
}
