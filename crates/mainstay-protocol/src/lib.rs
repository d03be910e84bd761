//! Wire formats and failure classes of the protocols that model servers speak, without I/O.

pub mod tensor;

pub use tensor::{Data, Datatype, Tensor, TensorSpec};
