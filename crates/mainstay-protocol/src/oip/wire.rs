//! Tensors inside a message: what requests and answers have in common.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::put;
use super::{Encoded, binary, json};
use crate::error::cut;
use crate::{Datatype, Error, Tensor};

/// The parameter that says how many bytes of the tail are a tensor's.
const BINARY_DATA_SIZE: &str = "binary_data_size";

/// Free parameters of tensors by tensor name, for those that have any.
pub type TensorParameters = BTreeMap<String, Map<String, Value>>;

/// A tensor as it stands in the JSON head, its data still text.
#[derive(Deserialize)]
pub(super) struct RawTensor<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// What a list of raw tensors turned out to be.
pub(super) struct Tensors {
    pub(super) tensors: Vec<Tensor>,
    pub(super) parameters: TensorParameters,
    /// Whether any came as binary data.
    pub(super) binary: bool,
}

/// Reads every tensor, taking binary data from `tail` in order; all of it must be used.
pub(super) fn read(raw: Vec<RawTensor<'_>>, tail: &[u8]) -> Result<Tensors, Error> {
    let mut found = Tensors {
        tensors: Vec::with_capacity(raw.len()),
        parameters: TensorParameters::new(),
        binary: false,
    };
    let mut tail = tail;
    for mut tensor in raw {
        let size = tensor.take_binary_size()?;
        found.binary |= size.is_some();
        found.tensors.push(tensor.read(size, &mut tail)?);
        let parameters = tensor.parameters.filter(|parameters| !parameters.is_empty());
        if let Some(parameters) = parameters {
            found.parameters.insert(tensor.name.into_owned(), parameters);
        }
    }
    if !tail.is_empty() {
        return Err(Error::Trailing(tail.len()));
    }
    refuse_duplicates(&found.tensors)?;
    Ok(found)
}

pub(crate) fn refuse_duplicates(tensors: &[Tensor]) -> Result<(), Error> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::Duplicate { tensor: pair[0].to_owned() }),
        None => Ok(()),
    }
}

impl RawTensor<'_> {
    /// Whether this is its name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Its first value as binary data; `tail` begins with its own, if that has a `size`.
    pub(super) fn first(&self, size: Option<usize>, tail: &[u8]) -> Option<Vec<u8>> {
        let datatype = self.datatype().ok()?;
        match (size, self.data) {
            (Some(size), None) => {
                let data = tail.get(..size)?;
                let len = match datatype.width() {
                    Some(width) => width,
                    None => binary::string_len(data)?,
                };
                data.get(..len).map(<[u8]>::to_vec)
            }
            (None, Some(text)) => {
                let token = json::first(text.get())?;
                let data = json::read(&self.name, datatype, &[1], 1, &format!("[{token}]")).ok()?;
                let tensor = Tensor { name: String::new(), shape: vec![1], data };
                let mut value = Vec::new();
                binary::write(&tensor, &mut value);
                Some(value)
            }
            _ => None,
        }
    }

    /// Removes `binary_data_size` from the parameters; it belongs to this message alone.
    pub(super) fn take_binary_size(&mut self) -> Result<Option<usize>, Error> {
        let Some(size) = self.parameters.as_mut().and_then(|map| map.remove(BINARY_DATA_SIZE))
        else {
            return Ok(None);
        };
        let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| self.no_data())
    }

    /// The tensor, with binary data of `size` from the front of `tail`, or with its JSON data.
    fn read(&self, size: Option<usize>, tail: &mut &[u8]) -> Result<Tensor, Error> {
        let datatype = self.datatype()?;
        let shape = checked_shape(&self.name, &self.shape)?;
        let len = shape.iter().product();
        let data = match (size, self.data) {
            (Some(size), None) => {
                let (bytes, rest) = tail.split_at_checked(size).ok_or_else(|| Error::Binary {
                    tensor: self.name.to_string(),
                    found: tail.len(),
                })?;
                *tail = rest;
                binary::read(&self.name, datatype, len, bytes)?
            }
            (None, Some(text)) => json::read(&self.name, datatype, &shape, len, text.get())?,
            _ => return Err(self.no_data()),
        };
        Ok(Tensor { name: self.name.to_string(), shape, data })
    }

    fn datatype(&self) -> Result<Datatype, Error> {
        self.datatype.parse().map_err(|_| Error::Datatype {
            tensor: self.name.to_string(),
            datatype: cut(&self.datatype),
        })
    }

    fn no_data(&self) -> Error {
        Error::NoData { tensor: self.name.to_string() }
    }
}

/// The shape as sizes: none negative, and all but the zero ones with a product that fits.
///
/// Zeroes are left out of the product so that `[0, huge, huge]` cannot overflow later, when the
/// rows of a batch are counted.
pub(crate) fn checked_shape(tensor: &str, shape: &[i64]) -> Result<Vec<usize>, Error> {
    let refuse = |reason| Error::Shape {
        tensor: tensor.to_owned(),
        shape: cut(&format!("{:?}", shape.get(..16).unwrap_or(shape))),
        reason,
    };
    let mut product = 1_usize;
    let mut sizes = Vec::with_capacity(shape.len());
    for &size in shape {
        let size = usize::try_from(size).map_err(|_| refuse("sizes must not be negative"))?;
        product =
            product.checked_mul(size.max(1)).ok_or_else(|| refuse("more than memory holds"))?;
        sizes.push(size);
    }
    Ok(sizes)
}

/// How one tensor is to be written.
pub(super) struct Item<'a> {
    pub(super) tensor: &'a Tensor,
    pub(super) parameters: Option<&'a Map<String, Value>>,
    pub(super) binary: bool,
}

/// A message under construction: its JSON head and the binary data that will follow.
#[derive(Default)]
pub(super) struct Message {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Binary data may be of no bytes at all, and still needs its header.
    binary: bool,
}

impl Message {
    /// Opens the object.
    pub(super) fn new() -> Self {
        Self { head: vec![b'{'], ..Self::default() }
    }

    /// Adds one member of the object.
    pub(super) fn member<T: serde::Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        self.key(key);
        put(&mut self.head, value);
    }

    /// Adds a member that is a list of tensors.
    pub(super) fn tensors<'a>(
        &mut self,
        key: &str,
        items: impl Iterator<Item = Item<'a>>,
    ) -> Result<(), Error> {
        self.key(key);
        self.head.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.head.push(b',');
            }
            self.tensor(&item)?;
        }
        self.head.push(b']');
        Ok(())
    }

    fn tensor(&mut self, item: &Item<'_>) -> Result<(), Error> {
        self.head.push(b'{');
        self.member("name", &item.tensor.name);
        self.member("datatype", item.tensor.datatype().as_str());
        self.member("shape", &item.tensor.shape);
        let before = self.tail.len();
        if item.binary {
            binary::write(item.tensor, &mut self.tail);
            self.binary = true;
        }
        let size = item.binary.then(|| self.tail.len() - before);
        self.tensor_parameters(item.parameters, size);
        if !item.binary {
            self.key("data");
            json::write(item.tensor, &mut self.head)?;
        }
        self.head.push(b'}');
        Ok(())
    }

    fn tensor_parameters(&mut self, given: Option<&Map<String, Value>>, size: Option<usize>) {
        if given.is_none() && size.is_none() {
            return;
        }
        let mut parameters = given.cloned().unwrap_or_default();
        if let Some(size) = size {
            parameters.insert(BINARY_DATA_SIZE.to_owned(), size.into());
        }
        self.member("parameters", &parameters);
    }

    fn key(&mut self, key: &str) {
        if !self.head.ends_with(b"{") {
            self.head.push(b',');
        }
        put(&mut self.head, key);
        self.head.push(b':');
    }

    /// Closes the object.
    pub(super) fn finish(mut self) -> Encoded {
        self.head.push(b'}');
        let json_len = self.binary.then_some(self.head.len());
        self.head.append(&mut self.tail);
        Encoded { body: Bytes::from(self.head), json_len }
    }
}
