//! From the attributes of a tree operator to the flat layout.
//!
//! A model file is input from outside: ids that name no node, nodes that are reached twice (a
//! cycle would walk for ever) and lists of unequal length are refused here, so that a walk needs
//! no checks.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{TractErrorContext as _, bail, ensure};
use tract_onnx::tract_hir::prelude::TractResult;

use super::{Branch, LEAF, Test, Trees};

/// A node's name: its tree and its number in the tree.
type Id = (i64, i64);

/// The attributes as they stand in the file, checked for equal lengths.
pub(super) struct Attributes {
    ids: Vec<Id>,
    features: Vec<i64>,
    values: Vec<f32>,
    /// `None` is a leaf.
    tests: Vec<Option<Test>>,
    passed: Vec<i64>,
    failed: Vec<i64>,
    missing_passes: Vec<bool>,
    contributions: HashMap<Id, Vec<(i64, f32)>>,
}

impl Attributes {
    pub(super) fn read(node: &NodeProto, prefix: &str) -> TractResult<Self> {
        for name in ["nodes_values", &format!("{prefix}_weights"), "base_values"] {
            let double = format!("{name}_as_tensor");
            let given = node.attribute.iter().any(|attribute| attribute.name == double);
            ensure!(!given, "{double} (trees in double precision) is not supported");
        }
        let tree_ids = node.get_attr_vec::<i64>("nodes_treeids")?;
        let count = tree_ids.len();
        let missing = node.get_attr_opt_vec::<i64>("nodes_missing_value_tracks_true")?;
        let missing = missing.unwrap_or_default();
        Ok(Self {
            ids: tree_ids.into_iter().zip(list(node, "nodes_nodeids", count)?).collect(),
            features: list(node, "nodes_featureids", count)?,
            values: floats(node, "nodes_values", count)?,
            tests: tests(node, count)?,
            passed: list(node, "nodes_truenodeids", count)?,
            failed: list(node, "nodes_falsenodeids", count)?,
            missing_passes: (0..count).map(|index| missing.get(index) == Some(&1)).collect(),
            contributions: contributions(node, prefix)?,
        })
    }

    pub(super) fn lay_out(self, targets: usize) -> TractResult<Trees> {
        ensure!(!self.ids.is_empty(), "an ensemble without nodes");
        let mut layout = Layout::new(&self, targets)?;
        for index in self.roots() {
            layout.tree(index)?;
        }
        ensure!(layout.placed.iter().all(|placed| *placed), "nodes that no root leads to");
        Ok(layout.finish())
    }

    /// The first node of each tree, in the file's order: exporters and onnxruntime agree that it
    /// is the root.
    fn roots(&self) -> impl Iterator<Item = usize> {
        let mut seen = std::collections::HashSet::new();
        (0..self.ids.len()).filter(move |index| seen.insert(self.ids[*index].0))
    }
}

fn list(node: &NodeProto, name: &str, count: usize) -> TractResult<Vec<i64>> {
    let values: Vec<i64> = node.get_attr_vec(name)?;
    ensure!(values.len() == count, "{name} has {} entries for {count}", values.len());
    Ok(values)
}

fn floats(node: &NodeProto, name: &str, count: usize) -> TractResult<Vec<f32>> {
    let values: Vec<f32> = node.get_attr_vec(name)?;
    ensure!(values.len() == count, "{name} has {} entries for {count}", values.len());
    Ok(values)
}

fn tests(node: &NodeProto, count: usize) -> TractResult<Vec<Option<Test>>> {
    let modes: Vec<&str> = node.get_attr_vec("nodes_modes")?;
    ensure!(modes.len() == count, "nodes_modes has {} entries for {count}", modes.len());
    modes
        .into_iter()
        .map(|mode| {
            Ok(Some(match mode {
                "BRANCH_LEQ" => Test::AtMost,
                "BRANCH_LT" => Test::Below,
                "BRANCH_GTE" => Test::AtLeast,
                "BRANCH_GT" => Test::Above,
                "BRANCH_EQ" => Test::Equal,
                "BRANCH_NEQ" => Test::NotEqual,
                "LEAF" => return Ok(None),
                other => bail!("unknown node mode {other}"),
            }))
        })
        .collect()
}

fn contributions(node: &NodeProto, prefix: &str) -> TractResult<HashMap<Id, Vec<(i64, f32)>>> {
    let targets: Vec<i64> = node.get_attr_vec(&format!("{prefix}_ids"))?;
    let trees = list(node, &format!("{prefix}_treeids"), targets.len())?;
    let nodes = list(node, &format!("{prefix}_nodeids"), targets.len())?;
    let weights = floats(node, &format!("{prefix}_weights"), targets.len())?;
    let mut contributions = HashMap::<Id, Vec<_>>::new();
    for (id, contribution) in trees.into_iter().zip(nodes).zip(targets.into_iter().zip(weights)) {
        contributions.entry(id).or_default().push(contribution);
    }
    Ok(contributions)
}

/// The layout as it grows.
struct Layout<'a> {
    from: &'a Attributes,
    targets: usize,
    /// Where a node stands in the attributes.
    positions: HashMap<Id, usize>,
    placed: Vec<bool>,
    tests: Vec<(Test, bool)>,
    trees: Trees,
}

impl<'a> Layout<'a> {
    fn new(from: &'a Attributes, targets: usize) -> TractResult<Self> {
        let positions: HashMap<_, _> =
            from.ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        ensure!(positions.len() == from.ids.len(), "two nodes with one id");
        ensure!(from.ids.len() < LEAF as usize, "too many nodes");
        let trees = Trees {
            branches: vec![],
            tests: vec![],
            uniform: Test::AtMost,
            roots: vec![],
            offsets: vec![0],
            weights: vec![],
            features: 0,
        };
        Ok(Self {
            from,
            targets,
            positions,
            placed: vec![false; from.ids.len()],
            tests: vec![],
            trees,
        })
    }

    /// Lays a tree out with every parent before its children, depth first along the failed side.
    fn tree(&mut self, root: usize) -> TractResult<()> {
        let place = self.place(root)?;
        self.trees.roots.push(place);
        let mut open = if place & LEAF == 0 { vec![(root, place)] } else { vec![] };
        while let Some((index, place)) = open.pop() {
            for (side, child) in
                [self.from.failed[index], self.from.passed[index]].iter().enumerate()
            {
                let id = (self.from.ids[index].0, *child);
                let child = *self.positions.get(&id).with_context(|| format!("no node {id:?}"))?;
                let child_place = self.place(child)?;
                self.trees.branches[place as usize].children[side] = child_place;
                if child_place & LEAF == 0 {
                    open.push((child, child_place));
                }
            }
        }
        Ok(())
    }

    /// Gives a node its place. Each node gets one: a second visit means a cycle or a shared
    /// child, which is no tree.
    fn place(&mut self, index: usize) -> TractResult<u32> {
        ensure!(!self.placed[index], "nodes that are reached twice");
        self.placed[index] = true;
        match self.from.tests[index] {
            Some(test) => self.branch(index, test),
            None => self.leaf(index),
        }
    }

    fn branch(&mut self, index: usize, test: Test) -> TractResult<u32> {
        let place = u32::try_from(self.trees.branches.len())?;
        let feature = u32::try_from(self.from.features[index])?;
        let value = self.from.values[index];
        self.trees.branches.push(Branch { feature, value, children: [0, 0] });
        self.trees.features = self.trees.features.max(feature as usize + 1);
        self.tests.push((test, self.from.missing_passes[index]));
        Ok(place)
    }

    fn leaf(&mut self, index: usize) -> TractResult<u32> {
        let place = u32::try_from(self.trees.offsets.len() - 1)?;
        let contributions = self.from.contributions.get(&self.from.ids[index]);
        for (target, weight) in contributions.into_iter().flatten() {
            let target = u32::try_from(*target)?;
            ensure!((target as usize) < self.targets, "target {target} of {}", self.targets);
            self.trees.weights.push((target, *weight));
        }
        self.trees.offsets.push(u32::try_from(self.trees.weights.len())?);
        Ok(place | LEAF)
    }

    /// Keeps the tests of the branches only where they differ or let missing values pass.
    fn finish(mut self) -> Trees {
        let first = self.tests.first().copied().unwrap_or((Test::AtMost, false));
        self.trees.uniform = first.0;
        if first.1 || self.tests.iter().any(|test| *test != first) {
            self.trees.tests = self.tests;
        }
        self.trees
    }
}
