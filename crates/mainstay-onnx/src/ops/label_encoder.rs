//! `LabelEncoder` and `CategoryMapper`: each value looked up in a table.
//!
//! Keys and values are strings, integers or floats in any pair. The attributes changed with the
//! operator's versions (one list of strings numbered from zero, then two lists, then two
//! tensors); a node holds those of one version, so all are read. A CategoryMapper is two such
//! tables, and the input's type says which way it goes.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::{bail, ensure};
use tract_onnx::tract_hir::prelude::tract_ndarray::ArrayD;
use tract_onnx::tract_hir::prelude::{Datum, DatumType, TValue, TVec, Tensor, TractResult, tvec};

use super::kernel::{Form, Kernel, Parsed, operator};

/// What the specification puts where a key is unknown.
const NO_STRING: &str = "_Unused";
const NO_INTEGER: i64 = -1;
const NO_FLOAT: f32 = -0.0;
/// The version of ai.onnx.ml since which NaN can be looked up.
const NAN_IS_KEY: i64 = 4;

/// Reads a LabelEncoder.
pub(super) fn parse(context: &ParsingContext, node: &NodeProto) -> Parsed {
    let defaults = Defaults::read(context, node)?;
    if let Some(classes) = node.get_attr_opt_vec::<String>("classes_strings")? {
        return operator(
            node,
            Lookup { tables: two_ways(&classes, &numbers(&classes)?, &defaults)? },
        );
    }
    let keys = column(context, node, "keys")?;
    let values = column(context, node, "values")?;
    operator(node, Lookup { tables: vec![Table::new(&keys, values, &defaults)?] })
}

/// Reads a CategoryMapper.
pub(super) fn parse_category_mapper(context: &ParsingContext, node: &NodeProto) -> Parsed {
    let defaults = Defaults::read(context, node)?;
    let strings: Vec<String> = node.get_attr_vec("cats_strings")?;
    let integers: Vec<i64> = node.get_attr_vec("cats_int64s")?;
    operator(node, Lookup { tables: two_ways(&strings, &integers, &defaults)? })
}

fn numbers(classes: &[String]) -> TractResult<Vec<i64>> {
    (0..classes.len()).map(|index| Ok(i64::try_from(index)?)).collect()
}

fn two_ways(strings: &[String], integers: &[i64], defaults: &Defaults) -> TractResult<Vec<Table>> {
    let strings = Column::Strings(strings.to_vec());
    let integers = Column::Integers(integers.to_vec());
    Ok(vec![
        Table::new(&strings, integers.clone(), defaults)?,
        Table::new(&integers, strings, defaults)?,
    ])
}

/// The keys or the values of a table.
#[derive(Clone, Debug)]
enum Column {
    Strings(Vec<String>),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Strings(all) => all.len(),
            Self::Integers(all) => all.len(),
            Self::Floats(all) => all.len(),
        }
    }

    fn datum(&self) -> DatumType {
        match self {
            Self::Strings(_) => String::datum_type(),
            Self::Integers(_) => i64::datum_type(),
            Self::Floats(_) => f32::datum_type(),
        }
    }

    fn is_nan(&self, place: usize) -> bool {
        matches!(self, Self::Floats(all) if all[place].is_nan())
    }

    fn keys(&self) -> Vec<Key> {
        match self {
            Self::Strings(all) => all.iter().cloned().map(Key::String).collect(),
            Self::Integers(all) => all.iter().copied().map(Key::Integer).collect(),
            Self::Floats(all) => all.iter().copied().map(Key::float).collect(),
        }
    }

    fn from_tensor(tensor: &Tensor) -> TractResult<Self> {
        let plain = tensor.try_as_plain_ram()?;
        Ok(match tensor.datum_type() {
            DatumType::String => Self::Strings(plain.as_slice::<String>()?.to_vec()),
            DatumType::I64 => Self::Integers(plain.as_slice::<i64>()?.to_vec()),
            DatumType::F32 => Self::Floats(plain.as_slice::<f32>()?.to_vec()),
            other => bail!("tables of {other:?} are not supported"),
        })
    }
}

/// A key that can be hashed. Floats are equal if they compare so, and all NaN are one.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    String(String),
    Integer(i64),
    Float(u32),
}

impl Key {
    fn float(value: f32) -> Self {
        let one_of_equals = if value.is_nan() { f32::NAN } else { value + 0.0 };
        Self::Float(one_of_equals.to_bits())
    }
}

/// What stands for unknown keys, by the type of the values.
#[derive(Debug)]
struct Defaults {
    /// Whether NaN can be a known key.
    nan_is_key: bool,
    string: String,
    integer: i64,
    float: f32,
}

impl Defaults {
    fn read(context: &ParsingContext, node: &NodeProto) -> TractResult<Self> {
        let opsets = &context.model.opset_import;
        let version = opsets.iter().find(|opset| opset.domain == "ai.onnx.ml");
        let mut defaults = Self {
            nan_is_key: version.is_some_and(|opset| opset.version >= NAN_IS_KEY),
            string: node.get_attr_opt("default_string")?.unwrap_or_else(|| NO_STRING.to_owned()),
            integer: node.get_attr_opt("default_int64")?.unwrap_or(NO_INTEGER),
            float: node.get_attr_opt("default_float")?.unwrap_or(NO_FLOAT),
        };
        if let Some(tensor) = node.get_attr_opt::<&TensorProto>("default_tensor")? {
            match Column::from_tensor(&context.load_tensor(tensor)?)? {
                Column::Strings(all) => defaults.string = all.concat(),
                Column::Integers(all) => defaults.integer = all.into_iter().sum(),
                Column::Floats(all) => defaults.float = all.into_iter().sum(),
            }
        }
        Ok(defaults)
    }
}

fn column(context: &ParsingContext, node: &NodeProto, name: &str) -> TractResult<Column> {
    if let Some(tensor) = node.get_attr_opt::<&TensorProto>(&format!("{name}_tensor"))? {
        return Column::from_tensor(&context.load_tensor(tensor)?);
    }
    if let Some(all) = node.get_attr_opt_vec::<String>(&format!("{name}_strings"))? {
        return Ok(Column::Strings(all));
    }
    if let Some(all) = node.get_attr_opt_vec::<i64>(&format!("{name}_int64s"))? {
        return Ok(Column::Integers(all));
    }
    match node.get_attr_opt_vec::<f32>(&format!("{name}_floats"))? {
        Some(all) => Ok(Column::Floats(all)),
        None => bail!("expects {name}"),
    }
}

/// From keys to values. The value past the last is the default.
#[derive(Debug)]
struct Table {
    from: DatumType,
    places: HashMap<Key, usize>,
    values: Column,
}

impl Table {
    fn new(keys: &Column, mut values: Column, defaults: &Defaults) -> TractResult<Self> {
        ensure!(keys.len() == values.len(), "{} keys for {} values", keys.len(), values.len());
        match &mut values {
            Column::Strings(all) => all.push(defaults.string.clone()),
            Column::Integers(all) => all.push(defaults.integer),
            Column::Floats(all) => all.push(defaults.float),
        }
        let usable = |place: &usize| defaults.nan_is_key || !keys.is_nan(*place);
        let places = keys.keys().into_iter().zip(0..).filter(|(_, place)| usable(place)).collect();
        Ok(Self { from: keys.datum(), places, values })
    }

    fn look_up(&self, input: &Tensor) -> TractResult<Tensor> {
        let unknown = self.values.len() - 1;
        let places: Vec<usize> = Column::from_tensor(input)?
            .keys()
            .iter()
            .map(|key| self.places.get(key).copied().unwrap_or(unknown))
            .collect();
        match &self.values {
            Column::Strings(all) => gather(input.shape(), all, &places),
            Column::Integers(all) => gather(input.shape(), all, &places),
            Column::Floats(all) => gather(input.shape(), all, &places),
        }
    }
}

fn gather<T: Datum + Clone>(shape: &[usize], all: &[T], places: &[usize]) -> TractResult<Tensor> {
    let picked = places.iter().map(|place| all[*place].clone()).collect();
    Ok(ArrayD::from_shape_vec(shape, picked)?.into())
}

#[derive(Debug)]
struct Lookup {
    tables: Vec<Table>,
}

impl Lookup {
    fn table(&self, input: DatumType) -> TractResult<&Table> {
        match self.tables.iter().find(|table| table.from == input) {
            Some(table) => Ok(table),
            None => bail!("no table for {input:?}"),
        }
    }
}

impl Kernel for Lookup {
    const NAME: &'static str = "LabelEncoder";

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let table = self.table(inputs[0].datum)?;
        Ok(tvec!(Form { datum: table.values.datum(), shape: inputs[0].shape.clone() }))
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<TVec<Tensor>> {
        Ok(tvec!(self.table(inputs[0].datum_type())?.look_up(&inputs[0])?))
    }
}
