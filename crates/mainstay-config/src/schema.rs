//! The JSON Schema of a configuration, for editors and for the annotated example.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Map, Value};

use crate::raw::RawConfig;

/// The JSON Schema (draft 2020-12) of a configuration file, as pretty-printed JSON.
#[must_use]
pub fn json_schema() -> String {
    let settings =
        SchemaSettings::draft2020_12().with_transform(WithoutNull).with_transform(NoHints);
    let schema = settings.into_generator().into_root_schema_for::<RawConfig>();
    format!("{:#}\n", schema.to_value())
}

/// The schema with everything in its place and the hints for the example.
pub(crate) fn inline_schema() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(WithoutNull);
    settings.into_generator().into_root_schema_for::<RawConfig>().to_value()
}

/// Turns a choice of documented constants into a plain enumeration of texts.
pub(crate) fn plain_choice(schema: &mut Schema) {
    let Some(Value::Array(choices)) = schema.remove("oneOf") else { return };
    let names: Vec<Value> =
        choices.iter().filter_map(|choice| choice.get("const").cloned()).collect();
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), Value::Array(names));
    schema.remove("description");
}

/// Takes out the nulls that optional fields bring: a key is written with a value or left out.
#[derive(Clone, Debug)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        drop_null_type(object);
        for key in ["enum", "anyOf"] {
            if let Some(Value::Array(choices)) = object.get_mut(key) {
                choices.retain(|choice| !choice.is_null() && choice["type"] != "null");
            }
        }
        unwrap_single_choice(object);
    }
}

fn drop_null_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get_mut("type") else { return };
    types.retain(|name| name != "null");
    if let [single] = types.as_slice() {
        let single = single.clone();
        object.insert("type".to_owned(), single);
    }
}

/// `{"anyOf": [X], ...}` says no more than `{X, ...}`.
fn unwrap_single_choice(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("anyOf") else { return };
    if let [Value::Object(single)] = choices.as_slice() {
        let single = single.clone();
        object.remove("anyOf");
        for (key, value) in single {
            object.entry(key).or_insert(value);
        }
    }
}

/// Takes out what steers the example only.
#[derive(Clone, Debug)]
struct NoHints;

impl Transform for NoHints {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if let Some(object) = schema.as_object_mut() {
            object.retain(|key, _| !key.starts_with("x-"));
        }
    }
}
