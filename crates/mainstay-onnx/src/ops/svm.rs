//! What the two support vector machines share: kernels and distances to support vectors.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{bail, ensure};
use tract_onnx::tract_hir::prelude::TractResult;

use super::linear::dot;

/// The attributes `kernel_type` and `kernel_params`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    shape: Shape,
    gamma: f32,
    offset: f32,
    degree: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Linear,
    Polynomial,
    Radial,
    Sigmoid,
}

impl Machine {
    /// The inner product, whatever the attributes say.
    pub(super) const LINEAR: Self =
        Self { shape: Shape::Linear, gamma: 0.0, offset: 0.0, degree: 0.0 };

    /// From the node's attributes; linear without them.
    pub(super) fn parse(node: &NodeProto) -> TractResult<Self> {
        let shape = match node.get_attr_opt::<&str>("kernel_type")? {
            None | Some("LINEAR") => Shape::Linear,
            Some("POLY") => Shape::Polynomial,
            Some("RBF") => Shape::Radial,
            Some("SIGMOID") => Shape::Sigmoid,
            Some(other) => bail!("unknown kernel_type {other}"),
        };
        let parameters = node.get_attr_opt_vec::<f32>("kernel_params")?.unwrap_or_default();
        let parameter = |index| parameters.get(index).copied().unwrap_or(0.0);
        Ok(Self { shape, gamma: parameter(0), offset: parameter(1), degree: parameter(2) })
    }

    /// How near two points are.
    pub(super) fn apply(self, a: &[f32], b: &[f32]) -> f32 {
        match self.shape {
            Shape::Linear => dot(a, b),
            Shape::Polynomial => (self.gamma * dot(a, b) + self.offset).powf(self.degree),
            Shape::Radial => (-self.gamma * squared_distance(a, b)).exp(),
            Shape::Sigmoid => (self.gamma * dot(a, b) + self.offset).tanh(),
        }
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The number of features of `count` vectors that lie in `values` one after the other.
pub(super) fn features(values: &[f32], count: usize) -> TractResult<usize> {
    ensure!(count > 0 && !values.is_empty(), "a machine without vectors");
    ensure!(values.len().is_multiple_of(count), "{} numbers for {count} vectors", values.len());
    Ok(values.len() / count)
}
