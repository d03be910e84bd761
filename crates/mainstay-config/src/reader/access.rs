//! What the reader gives to serde's visitors: elements, entries, choices and places.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::{Cause, Fail, Reader};
use crate::tree::{Id, Kind, Tree};

/// The sound elements of a list.
pub(super) struct Items<'t> {
    pub(super) tree: &'t Tree,
    pub(super) rest: std::slice::Iter<'t, Id>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fail;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fail> {
        let tree = self.tree;
        match self.rest.find(|item| !tree.node(**item).faulty) {
            Some(item) => seed.deserialize(Reader { tree, id: *item }).map(Some),
            None => Ok(None),
        }
    }
}

/// The sound entries of a mapping.
pub(super) struct Entries<'t> {
    pub(super) tree: &'t Tree,
    pub(super) rest: std::slice::Iter<'t, (Id, Id)>,
    pub(super) value: Option<Id>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fail;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fail> {
        let tree = self.tree;
        let Some((key, value)) = self.rest.find(|(key, value)| !tree.skips(*key, *value)) else {
            return Ok(None);
        };
        self.value = Some(*value);
        seed.deserialize(Reader { tree, id: *key }).map(Some).map_err(|fail| fail.at(*key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fail> {
        match self.value.take() {
            Some(id) => seed.deserialize(Reader { tree: self.tree, id }),
            None => Err(Fail::new(Cause::Other("a value was asked for before its key".into()))),
        }
    }
}

/// A choice by name, with its settings where there are any.
pub(super) struct Choice<'t> {
    pub(super) name: Reader<'t>,
    pub(super) settings: Option<Reader<'t>>,
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Fail;
    type Variant = Settings<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Fail> {
        let choice = seed.deserialize(self.name)?;
        Ok((choice, Settings(self.settings)))
    }
}

/// What stands behind the name of a choice.
pub(super) struct Settings<'t>(Option<Reader<'t>>);

impl<'de> VariantAccess<'de> for Settings<'de> {
    type Error = Fail;

    fn unit_variant(self) -> Result<(), Fail> {
        match self.0.map(|settings| (settings, &settings.tree.node(settings.id).kind)) {
            None | Some((_, Kind::Null)) => Ok(()),
            Some((settings, _)) => {
                let message = "this choice has no settings; write its name alone";
                Err(Fail::new(Cause::Other(message.into())).at(settings.id))
            }
        }
    }

    /// A name alone stands for a mapping without keys: every setting has its default.
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fail> {
        match self.0 {
            Some(settings) => seed.deserialize(settings),
            None => seed.deserialize(de::value::MapDeserializer::<_, Fail>::new(
                std::iter::empty::<(StrDeserializer<'_, Fail>, StrDeserializer<'_, Fail>)>(),
            )),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fail> {
        self.struct_variant(&[], visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fail> {
        match self.0 {
            Some(settings) => de::Deserializer::deserialize_map(settings, visitor),
            None => Err(Fail::new(Cause::Other("this choice needs settings".into()))),
        }
    }
}

/// A value behind its place: file, start, end, damaged, value.
pub(super) struct Placed<'t> {
    pub(super) reader: Reader<'t>,
    pub(super) next: u8,
}

impl<'de> SeqAccess<'de> for Placed<'de> {
    type Error = Fail;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fail> {
        let (tree, id) = (self.reader.tree, self.reader.id);
        let span = tree.node(id).span;
        self.next += 1;
        match self.next {
            1 => seed.deserialize(span.file.into_deserializer()).map(Some),
            2 => seed.deserialize(span.start.into_deserializer()).map(Some),
            3 => seed.deserialize(span.end.into_deserializer()).map(Some),
            4 => seed.deserialize(u32::from(tree.is_damaged(id)).into_deserializer()).map(Some),
            5 => seed.deserialize(self.reader).map(Some),
            _ => Ok(None),
        }
    }
}
