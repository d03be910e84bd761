//! YAML as a tree whose every node knows its place, over all files of a configuration.
//!
//! serde stops at the first fault; an operator wants all of them. So the text becomes a tree
//! first, and the typed structs are read from the tree: a node found faulty is marked, and the
//! reading is repeated without it (see [`crate::reader`]). The tree is also where defaults are
//! laid under entries and includes are merged, so that every value keeps its own place.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use crate::source::Span;

/// Deeper nesting than any configuration needs; keeps recursion off the end of the stack.
const MAX_DEPTH: usize = 64;
/// More nodes than any configuration needs; stops alias bombs.
const MAX_NODES: usize = 200_000;

/// Index of a node in its tree.
pub(crate) type Id = usize;

/// All nodes of all files.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// One value or key.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// Reported already: readers pass over it.
    pub(crate) faulty: bool,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// As it is written, so that a version 1.10 stays one.
    Number(String),
    Text(String),
    List(Vec<Id>),
    /// Keys and values, in the order of the file, each key once.
    Map(Vec<(Id, Id)>),
}

/// A key that a mapping sets more than once.
pub(crate) struct Duplicate {
    pub(crate) key: String,
    pub(crate) first: Span,
    pub(crate) last: Span,
}

impl Tree {
    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn mark_faulty(&mut self, id: Id) {
        self.nodes[id].faulty = true;
    }

    /// Adds a node.
    pub(crate) fn add(&mut self, kind: Kind, span: Span) -> Id {
        self.nodes.push(Node { kind, span, faulty: false });
        self.nodes.len() - 1
    }

    pub(crate) fn set_kind(&mut self, id: Id, kind: Kind) {
        self.nodes[id].kind = kind;
    }

    /// The text of a scalar, as it is written.
    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match &self.nodes[id].kind {
            Kind::Number(text) | Kind::Text(text) => Some(text),
            Kind::Bool(true) => Some("true"),
            Kind::Bool(false) => Some("false"),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The entries of a mapping; none for anything else.
    pub(crate) fn entries(&self, id: Id) -> &[(Id, Id)] {
        match &self.nodes[id].kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value under a key of a mapping.
    pub(crate) fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.entries(id).iter().find(|(k, _)| self.text(*k) == Some(key)).map(|(_, v)| *v)
    }

    /// The keys of the mapping under a key, faulty ones among them.
    pub(crate) fn names(&self, id: Id, key: &str) -> Vec<String> {
        let section = self.get(id, key).map_or(&[][..], |section| self.entries(section));
        section.iter().filter_map(|(name, _)| self.text(*name)).map(ToOwned::to_owned).collect()
    }

    /// Where a key of a mapping is written.
    pub(crate) fn key_span(&self, id: Id, key: &str) -> Option<Span> {
        let entry = self.entries(id).iter().find(|(k, _)| self.text(*k) == Some(key))?;
        Some(self.nodes[entry.0].span)
    }

    /// Adds an entry to a mapping; an empty value becomes one.
    pub(crate) fn push_entry(&mut self, id: Id, key: Id, value: Id) {
        match &mut self.nodes[id].kind {
            Kind::Map(entries) => entries.push((key, value)),
            kind @ Kind::Null => *kind = Kind::Map(vec![(key, value)]),
            _ => {}
        }
    }

    /// Whether something directly in the node was faulty, so that what seems missing may not be.
    pub(crate) fn is_damaged(&self, id: Id) -> bool {
        match &self.nodes[id].kind {
            Kind::List(items) => items.iter().any(|item| self.nodes[*item].faulty),
            Kind::Map(entries) => entries.iter().any(|(key, value)| self.skips(*key, *value)),
            _ => false,
        }
    }

    /// Whether readers pass over an entry of a mapping.
    pub(crate) fn skips(&self, key: Id, value: Id) -> bool {
        self.nodes[key].faulty || self.nodes[value].faulty
    }

    /// Lays `under` beneath the mapping `over`: keys that `over` lacks are shared, mappings on
    /// both sides are merged `depth` levels down, and in all else `over` wins.
    pub(crate) fn underlay(&mut self, over: Id, under: Id, depth: usize) {
        if matches!(self.nodes[over].kind, Kind::Null) {
            self.nodes[over].kind = Kind::Map(Vec::new());
        }
        let mut merged = match &self.nodes[over].kind {
            Kind::Map(entries) => entries.clone(),
            _ => return,
        };
        for (key, value) in self.entries(under).to_vec() {
            let own = self.text(key).and_then(|name| self.get(over, name));
            match own {
                None => merged.push((key, value)),
                Some(own) if depth > 1 => self.underlay(own, value, depth - 1),
                Some(_) => {}
            }
        }
        self.nodes[over].kind = Kind::Map(merged);
    }

    /// Reads a text into the tree: its root, and the keys that are set twice.
    pub(crate) fn parse(
        &mut self,
        file: u32,
        text: &str,
    ) -> Result<(Id, Vec<Duplicate>), serde_saphyr::Error> {
        let last: Spanned<Value> =
            serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::LastWins))?;
        let first: Spanned<Value> =
            serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::FirstWins))?;
        let mut duplicates = Vec::new();
        find_duplicates(file, &first, &last, &mut duplicates);
        Ok((self.insert(file, text, last), duplicates))
    }

    fn insert(&mut self, file: u32, text: &str, value: Spanned<Value>) -> Id {
        let span = span_of(file, &value.defined);
        let kind = match value.value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(value),
            Value::Number(number) => Kind::Number(as_written(text, span).unwrap_or(number)),
            Value::Text(text) => Kind::Text(text),
            Value::List(items) => {
                Kind::List(items.into_iter().map(|item| self.insert(file, text, item)).collect())
            }
            Value::Map(entries) => Kind::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let span = span_of(file, &key.defined);
                        let key = self.add(Kind::Text(key.value), span);
                        (key, self.insert(file, text, value))
                    })
                    .collect(),
            ),
        };
        self.add(kind, span)
    }
}

/// Strict enough that nothing is guessed: `off` is a text, `.inf` is no number.
fn options(duplicate_keys: DuplicateKeyPolicy) -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = duplicate_keys;
    options.strict_booleans = true;
    options.with_snippet = false;
    options.non_finite_float_policy = NonFiniteFloatPolicy::AsString;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = MAX_DEPTH;
        budget.max_nodes = MAX_NODES;
    }
    options.alias_limits.max_total_replayed_events = MAX_NODES;
    options
}

/// A number as the file writes it; `None` where the place holds more than the number.
fn as_written(text: &str, span: Span) -> Option<String> {
    let written = text.get(span.start as usize..span.end as usize)?;
    written.parse::<f64>().is_ok().then(|| written.to_owned())
}

fn span_of(file: u32, location: &Location) -> Span {
    let span = location.span();
    let offset = |offset: Option<u64>| offset.and_then(|at| u32::try_from(at).ok());
    let start = offset(span.byte_offset()).unwrap_or_default();
    let len = offset(span.byte_len()).unwrap_or_default();
    Span { file, start, end: start.saturating_add(len) }
}

/// Compares the tree in which the first of two equal keys won with the one in which the last
/// did: where a key stands in two places, it is set twice.
fn find_duplicates(
    file: u32,
    first: &Spanned<Value>,
    last: &Spanned<Value>,
    found: &mut Vec<Duplicate>,
) {
    match (&first.value, &last.value) {
        (Value::List(first), Value::List(last)) => {
            for (first, last) in first.iter().zip(last) {
                find_duplicates(file, first, last, found);
            }
        }
        (Value::Map(first), Value::Map(last)) => {
            let last: HashMap<&str, _> =
                last.iter().map(|(key, value)| (key.value.as_str(), (key, value))).collect();
            for (key, value) in first {
                let Some((other_key, other)) = last.get(key.value.as_str()) else { continue };
                let (first, last) =
                    (span_of(file, &key.defined), span_of(file, &other_key.defined));
                if first == last {
                    find_duplicates(file, value, other, found);
                } else {
                    found.push(Duplicate { key: key.value.clone(), first, last });
                }
            }
        }
        _ => {}
    }
}

/// Any YAML value, on its way into the tree.
#[derive(Debug)]
enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
