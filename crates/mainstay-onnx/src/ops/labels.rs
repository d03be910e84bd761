//! The class labels of a classifier: integers or strings.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::prelude::tract_ndarray::Array1;
use tract_onnx::tract_hir::prelude::{Datum, DatumType, Tensor, TractResult};

/// One label for each class, in the order of the scores' columns.
#[derive(Debug)]
pub(super) enum Labels {
    Integers(Vec<i64>),
    Strings(Vec<String>),
}

impl Labels {
    /// From the attribute `integers` or `classlabels_strings`; exporters write one of them, and
    /// some the other as an empty list.
    pub(super) fn parse(node: &NodeProto, integers: &str) -> TractResult<Self> {
        let numbers = node.get_attr_opt_vec::<i64>(integers)?.unwrap_or_default();
        let names = node.get_attr_opt_vec::<String>("classlabels_strings")?.unwrap_or_default();
        match (numbers.is_empty(), names.is_empty()) {
            (false, true) => Ok(Self::Integers(numbers)),
            (true, false) => Ok(Self::Strings(names)),
            _ => bail!("expects either {integers} or classlabels_strings"),
        }
    }

    /// The number of classes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Integers(labels) => labels.len(),
            Self::Strings(labels) => labels.len(),
        }
    }

    /// The element type of the output.
    pub(super) fn datum(&self) -> DatumType {
        match self {
            Self::Integers(_) => i64::datum_type(),
            Self::Strings(_) => String::datum_type(),
        }
    }

    /// The labels of the chosen classes, one for each row.
    pub(super) fn pick(&self, classes: &[usize]) -> TractResult<Tensor> {
        fn at<T: Clone>(labels: &[T], classes: &[usize]) -> Option<Vec<T>> {
            classes.iter().map(|class| labels.get(*class).cloned()).collect()
        }
        let picked = match self {
            Self::Integers(labels) => {
                at(labels, classes).map(|picked| Tensor::from(Array1::from_vec(picked)))
            }
            Self::Strings(labels) => {
                at(labels, classes).map(|picked| Tensor::from(Array1::from_vec(picked)))
            }
        };
        picked.ok_or_else(|| tract_onnx::tract_hir::internal::anyhow!("a class without a label"))
    }
}
