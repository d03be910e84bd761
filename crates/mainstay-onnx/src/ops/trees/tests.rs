//! Trees read from their attributes: branch modes, missing values, and what is refused.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

use super::*;

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.into(),
        ..AttributeProto::default()
    }
}

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Floats as i32,
        floats: values.into(),
        ..AttributeProto::default()
    }
}

fn strings(name: &str, values: &[&str]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Strings as i32,
        strings: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
        ..AttributeProto::default()
    }
}

/// One branch on feature 0 at 1.5, with 10 where it holds and 20 where it does not.
fn stump(mode: &str) -> Vec<AttributeProto> {
    vec![
        ints("nodes_treeids", &[0, 0, 0]),
        ints("nodes_nodeids", &[0, 1, 2]),
        ints("nodes_featureids", &[0, 0, 0]),
        floats("nodes_values", &[1.5, 0.0, 0.0]),
        strings("nodes_modes", &[mode, "LEAF", "LEAF"]),
        ints("nodes_truenodeids", &[1, 0, 0]),
        ints("nodes_falsenodeids", &[2, 0, 0]),
        ints("target_treeids", &[0, 0]),
        ints("target_nodeids", &[1, 2]),
        ints("target_ids", &[0, 0]),
        floats("target_weights", &[10.0, 20.0]),
    ]
}

fn parse(attribute: Vec<AttributeProto>) -> TractResult<Trees> {
    let node = NodeProto { op_type: "T".into(), attribute, ..NodeProto::default() };
    Trees::parse(&node, "target", 1)
}

fn with(mut attributes: Vec<AttributeProto>, changed: AttributeProto) -> Vec<AttributeProto> {
    attributes.retain(|attribute| attribute.name != changed.name);
    attributes.push(changed);
    attributes
}

fn refusal(attributes: Vec<AttributeProto>) -> String {
    parse(attributes).expect_err("a refusal").to_string()
}

fn sums(trees: &Trees, rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; rows.len() / columns];
    trees
        .visit(rows, columns, |row, contributions| {
            sums[row] += contributions.iter().map(|(_, weight)| weight).sum::<f32>();
        })
        .unwrap();
    sums
}

#[test]
fn every_mode_sends_values_and_missing_values_its_way() {
    // Below, at and above the branch's value, and missing.
    let rows = [1.0, 1.5, 2.0, f32::NAN];
    for (mode, expected) in [
        ("BRANCH_LEQ", [10.0, 10.0, 20.0, 20.0]),
        ("BRANCH_LT", [10.0, 20.0, 20.0, 20.0]),
        ("BRANCH_GTE", [20.0, 10.0, 10.0, 20.0]),
        ("BRANCH_GT", [20.0, 20.0, 10.0, 20.0]),
        ("BRANCH_EQ", [20.0, 10.0, 20.0, 20.0]),
        ("BRANCH_NEQ", [10.0, 20.0, 10.0, 10.0]),
    ] {
        assert_eq!(sums(&parse(stump(mode)).unwrap(), &rows, 1), expected, "{mode}");
        let tracked = with(stump(mode), ints("nodes_missing_value_tracks_true", &[1, 0, 0]));
        let expected = [expected[0], expected[1], expected[2], 10.0];
        assert_eq!(sums(&parse(tracked).unwrap(), &rows, 1), expected, "{mode} tracking");
    }
}

#[test]
fn a_tree_may_be_one_leaf() {
    let trees = parse(vec![
        ints("nodes_treeids", &[0]),
        ints("nodes_nodeids", &[0]),
        ints("nodes_featureids", &[0]),
        floats("nodes_values", &[0.0]),
        strings("nodes_modes", &["LEAF"]),
        ints("nodes_truenodeids", &[0]),
        ints("nodes_falsenodeids", &[0]),
        ints("target_treeids", &[0]),
        ints("target_nodeids", &[0]),
        ints("target_ids", &[0]),
        floats("target_weights", &[7.0]),
    ]);
    assert_eq!(sums(&trees.unwrap(), &[1.0, 2.0], 1), [7.0, 7.0]);
}

#[test]
fn broken_trees_are_refused_when_they_are_read() {
    let base = || stump("BRANCH_LEQ");
    let cycle = with(base(), ints("nodes_truenodeids", &[0, 0, 0]));
    assert!(refusal(cycle).contains("reached twice"));
    let shared = with(base(), ints("nodes_truenodeids", &[2, 0, 0]));
    assert!(refusal(shared).contains("reached twice"));
    let orphan = with(base(), strings("nodes_modes", &["LEAF", "LEAF", "LEAF"]));
    assert!(refusal(orphan).contains("no root leads to"));
    let nowhere = with(base(), ints("nodes_falsenodeids", &[9, 0, 0]));
    assert!(refusal(nowhere).contains("no node (0, 9)"));
    let short = with(base(), floats("nodes_values", &[1.5]));
    assert!(refusal(short).contains("nodes_values has 1 entries for 3"));
    let target = with(base(), ints("target_ids", &[0, 3]));
    assert!(refusal(target).contains("target 3 of 1"));
    let mode = with(base(), strings("nodes_modes", &["BRANCH_MAYBE", "LEAF", "LEAF"]));
    assert!(refusal(mode).contains("BRANCH_MAYBE"));
}

#[test]
fn too_few_columns_are_an_error_and_no_panic() {
    let far = with(stump("BRANCH_LEQ"), ints("nodes_featureids", &[4, 0, 0]));
    assert!(parse(far).unwrap().visit(&[1.0, 2.0], 2, |_, _| {}).is_err());
}
