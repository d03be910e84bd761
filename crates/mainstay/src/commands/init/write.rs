//! The configuration for what servers have: servers with the same models make a pool.

use std::collections::BTreeMap;
use std::fmt::Write;

use mainstay_config::yaml_text;
use mainstay_protocol::oip::metadata;
use mainstay_protocol::{Protocol, TensorSpec};

use super::ask::Server;

/// What is written first.
const HEADER: &str = "\
# A first configuration, from what the servers said. All options: mainstay schema --example
";

/// A deadline to begin with, and why it should not stay.
const DEADLINE: &str = "    deadline: 1s # set this to what your callers can wait\n";

/// A model with the servers that have it, by their index.
struct Carried<'a> {
    metadata: &'a metadata::Model,
    servers: Vec<usize>,
}

/// The text of a configuration for these servers.
pub(super) fn configuration(servers: &[Server]) -> String {
    let models = carried(servers);
    let pools = pools(&models);
    let mut out = String::from(HEADER);
    out.push_str("pools:\n");
    for (members, name) in &pools {
        write_pool(&mut out, name, members, servers);
    }
    out.push_str("models:\n");
    for (name, model) in &models {
        write_model(&mut out, name, model, &pools[&model.servers], servers);
    }
    out
}

/// Every model by name, with the servers that have it.
fn carried(servers: &[Server]) -> BTreeMap<&str, Carried<'_>> {
    let mut models: BTreeMap<&str, Carried<'_>> = BTreeMap::new();
    for (index, server) in servers.iter().enumerate() {
        for metadata in &server.models {
            let carried = models
                .entry(&metadata.name)
                .or_insert_with(|| Carried { metadata, servers: Vec::new() });
            let first = carried.servers.first().map(|first| servers[*first].protocol);
            let same = first.is_none_or(|first| first == server.protocol);
            if carried.servers.last() != Some(&index) && same {
                carried.servers.push(index);
            }
        }
    }
    models
}

/// A pool for each set of servers that some model has: named after the model if there is only
/// one, numbered otherwise.
fn pools(models: &BTreeMap<&str, Carried<'_>>) -> BTreeMap<Vec<usize>, String> {
    let mut users: BTreeMap<Vec<usize>, Vec<&str>> = BTreeMap::new();
    for (name, model) in models {
        users.entry(model.servers.clone()).or_default().push(name);
    }
    let mut pools = BTreeMap::new();
    for (number, (members, names)) in users.into_iter().enumerate() {
        let wanted = match names.as_slice() {
            [name] => pool_name(name),
            _ => format!("servers-{}", number + 1),
        };
        let taken = |name: &String| pools.values().any(|other| other == name);
        let name = if taken(&wanted) { format!("{wanted}-{}", number + 1) } else { wanted };
        pools.insert(members, name);
    }
    pools
}

/// A model's name as far as a pool may bear it.
fn pool_name(model: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    model.chars().take(100).map(fit).collect()
}

fn write_pool(out: &mut String, name: &str, members: &[usize], servers: &[Server]) {
    let _ = writeln!(out, "  {}:", yaml_text(name));
    if let Some(first) = members.first().map(|member| servers[*member].protocol)
        && first != Protocol::Oip
    {
        let _ = writeln!(out, "    protocol: {first}");
    }
    if let Some(flavour) = flavour(members, servers) {
        let _ = writeln!(out, "    flavour: {flavour}");
    }
    out.push_str("    endpoints:\n");
    for member in members {
        let _ = writeln!(out, "      - {}", servers[*member].url);
    }
}

/// The flavour that all members share, where they say what they are.
fn flavour(members: &[usize], servers: &[Server]) -> Option<&'static str> {
    let flavour = |index: &usize| match servers[*index].kind.to_ascii_lowercase().as_str() {
        "triton" => Some("triton"),
        "mlserver" => Some("mlserver"),
        _ => None,
    };
    let first = flavour(members.first()?)?;
    members.iter().all(|member| flavour(member) == Some(first)).then_some(first)
}

fn write_model(out: &mut String, name: &str, model: &Carried<'_>, pool: &str, servers: &[Server]) {
    let _ = writeln!(out, "  {}:", yaml_text(name));
    out.push_str(DEADLINE);
    if servers[model.servers[0]].protocol != Protocol::Oip {
        write_tensors(out, "inputs", &model.metadata.inputs);
    }
    write_tensors(out, "outputs", &model.metadata.outputs);
    if !same_everywhere(model, servers) {
        out.push_str("    # The servers differ in their outputs; these are the first one's.\n");
    }
    if has_row_dimension(model.metadata) {
        out.push_str(
            "    # Every tensor begins with a dimension of any size. If that is the batch, rows can\n\
             \x20   # be split and merged:\n    # batch: first-dimension\n",
        );
    }
    let _ = writeln!(out, "    chain:\n      - pool: {}", yaml_text(pool));
}

/// Tensors as far as they can be declared: a dimension of no size cannot.
fn write_tensors(out: &mut String, key: &str, outputs: &[TensorSpec]) {
    let declarable = |spec: &&TensorSpec| spec.shape.iter().all(|size| *size != Some(0));
    let outputs: Vec<&TensorSpec> = outputs.iter().filter(declarable).collect();
    if outputs.is_empty() {
        return;
    }
    let _ = writeln!(out, "    {key}:");
    for spec in outputs {
        let size = |size: &Option<usize>| size.map_or_else(|| "-1".to_owned(), |n| n.to_string());
        let shape: Vec<String> = spec.shape.iter().map(size).collect();
        let (name, shape) = (yaml_text(&spec.name), shape.join(", "));
        let _ = writeln!(out, "      {name}: {{datatype: {}, shape: [{shape}]}}", spec.datatype);
    }
}

fn same_everywhere(model: &Carried<'_>, servers: &[Server]) -> bool {
    let metadata = &model.metadata;
    model
        .servers
        .iter()
        .flat_map(|index| &servers[*index].models)
        .all(|other| other.name != metadata.name || other.outputs == metadata.outputs)
}

/// Whether every input and output begins with a dimension of any size.
fn has_row_dimension(model: &metadata::Model) -> bool {
    let mut tensors = model.inputs.iter().chain(&model.outputs).peekable();
    tensors.peek().is_some() && tensors.all(|spec| matches!(spec.shape.first(), Some(None)))
}
