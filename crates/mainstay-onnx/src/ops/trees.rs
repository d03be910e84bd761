//! Decision trees as one flat array of nodes.
//!
//! An ensemble arrives as parallel lists of attributes in which nodes name their children by
//! (tree, node) pairs. It is laid out once so that a walk is a loop over 16-byte nodes without
//! pointers, calls or allocation: a child is an index, and an index past [`LEAF`] is a leaf, so
//! that leaves need no node at all. What a leaf contributes stands in one list of (target,
//! weight) pairs, cut by offsets.
//!
//! A test that is false for NaN sends missing values the false way, unless the node's
//! `missing_value_tracks_true` says otherwise; so does onnxruntime.

mod layout;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::ensure;
use tract_onnx::tract_hir::prelude::TractResult;

/// The bit of a child's index that says that it is a leaf.
const LEAF: u32 = 1 << 31;

/// How a node compares a feature with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    NotEqual,
}

/// A branch: where to go on when the test holds, and when not.
#[derive(Clone, Copy, Debug)]
struct Branch {
    feature: u32,
    value: f32,
    children: [u32; 2],
}

/// All trees of one operator.
#[derive(Debug)]
pub(super) struct Trees {
    branches: Vec<Branch>,
    /// For each branch its test, and whether a missing value passes it; empty if all are alike.
    tests: Vec<(Test, bool)>,
    /// The test of all branches, if `tests` is empty; missing values fail it.
    uniform: Test,
    /// Where each tree starts: a branch or, for a tree of one node, a leaf.
    roots: Vec<u32>,
    /// Leaf `i` contributes `weights[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<u32>,
    weights: Vec<(u32, f32)>,
    /// How many columns the input must have at least.
    features: usize,
}

impl Trees {
    /// Reads the attributes of a node; those of the leaves start with `prefix`, `class` or
    /// `target`, and their targets must be below `targets`.
    pub(super) fn parse(node: &NodeProto, prefix: &str, targets: usize) -> TractResult<Self> {
        layout::Attributes::read(node, prefix)?.lay_out(targets)
    }

    /// The number of trees.
    pub(super) fn len(&self) -> usize {
        self.roots.len()
    }

    /// Every weight with its target.
    pub(super) fn weights(&self) -> &[(u32, f32)] {
        &self.weights
    }

    /// Calls `visit(row, contributions)` for the leaf that each row reaches in each tree, tree by
    /// tree: so a tree is in the cache while all rows of the batch walk it.
    pub(super) fn visit(
        &self,
        rows: &[f32],
        columns: usize,
        mut visit: impl FnMut(usize, &[(u32, f32)]),
    ) -> TractResult<()> {
        ensure!(
            columns >= self.features,
            "{columns} columns where trees ask for {}",
            self.features
        );
        for root in &self.roots {
            for (index, row) in rows.chunks_exact(columns).enumerate() {
                visit(index, self.contributions(self.leaf(*root, row)));
            }
        }
        Ok(())
    }

    fn contributions(&self, leaf: usize) -> &[(u32, f32)] {
        let range = self.offsets[leaf] as usize..self.offsets[leaf + 1] as usize;
        &self.weights[range]
    }

    /// The leaf that a row reaches from `at`.
    fn leaf(&self, at: u32, row: &[f32]) -> usize {
        if !self.tests.is_empty() {
            return self.walk(at, row, |index, x, value| {
                let (test, missing_passes) = self.tests[index];
                test.holds(x, value) || (missing_passes && x.is_nan())
            });
        }
        match self.uniform {
            Test::AtMost => self.walk(at, row, |_, x, value| x <= value),
            Test::Below => self.walk(at, row, |_, x, value| x < value),
            test => self.walk(at, row, |_, x, value| test.holds(x, value)),
        }
    }

    /// The layout has no cycles: a child's index is always higher than its parent's.
    fn walk(&self, mut at: u32, row: &[f32], holds: impl Fn(usize, f32, f32) -> bool) -> usize {
        while at & LEAF == 0 {
            let branch = &self.branches[at as usize];
            let passed = holds(at as usize, row[branch.feature as usize], branch.value);
            at = branch.children[usize::from(passed)];
        }
        (at ^ LEAF) as usize
    }
}

impl Test {
    fn holds(self, x: f32, value: f32) -> bool {
        match self {
            Self::AtMost => x <= value,
            Self::Below => x < value,
            Self::AtLeast => x >= value,
            Self::Above => x > value,
            #[expect(clippy::float_cmp, reason = "BRANCH_EQ means equal")]
            Self::Equal => x == value,
            #[expect(clippy::float_cmp, reason = "BRANCH_NEQ means not equal")]
            Self::NotEqual => x != value,
        }
    }
}

#[cfg(test)]
mod tests;
