//! What can be wrong with a message of the protocol.
//!
//! One enum for requests and answers: the same fault is the client's in a request and the
//! server's (`BadAnswer`) in an answer, and only the caller knows which of the two it reads.
//! The texts go to clients as they stand, so they quote names and never whole payloads.

use crate::{Datatype, Protocol};

/// Why a message cannot be read, written or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not JSON of the protocol's form.
    #[error("malformed JSON: {0}")]
    Malformed(String),
    /// The binary extension's header promises more JSON than the body holds.
    #[error("Inference-Header-Content-Length is {json_len}, but the body has {body} bytes")]
    HeaderLength {
        /// The bytes of JSON that the header promises.
        json_len: usize,
        /// The bytes that the body has.
        body: usize,
    },
    /// `Inference-Header-Content-Length: 0`: the tensors are described nowhere in the message.
    #[error("a raw binary body has no JSON head that could be read")]
    RawBody,
    /// A protocol whose messages are no tensors, or of whose kind this message is not.
    #[error("a message of the protocol {protocol} cannot be read as tensors")]
    NoTensors {
        /// Which one.
        protocol: Protocol,
    },
    /// A body of gRPC that is not one message in its frame.
    #[error("the body is not one gRPC message in its frame")]
    Frame,
    /// A compressed message that cannot be read.
    #[error("the message is compressed in a way that is not read here; gzip is")]
    Compressed,
    /// Bytes that are no message of the protocol.
    #[error("malformed message: {0}")]
    Message(String),
    /// A free parameter that the other protocol has no kind for.
    #[error("parameter {name:?} has a value that cannot be sent in the other protocol")]
    Parameter {
        /// Its name.
        name: String,
    },
    /// The message names and types no tensors, and the model's are not declared.
    #[error("the model's {0} are not declared, and the message does not type them itself")]
    Undeclared(&'static str),
    /// The other protocol cannot say it.
    #[error("the protocol {protocol} has no words for {what}")]
    NoWords {
        /// Which one.
        protocol: Protocol,
        /// What it is about.
        what: String,
    },
    /// A request without inputs.
    #[error("a request needs at least one input")]
    NoInputs,
    /// Two tensors of one name.
    #[error("tensor {tensor:?} appears twice")]
    Duplicate {
        /// Its name.
        tensor: String,
    },
    /// A datatype that the protocol does not know.
    #[error("tensor {tensor:?}: unknown datatype {datatype:?}")]
    Datatype {
        /// Its name.
        tensor: String,
        /// The datatype as written.
        datatype: String,
    },
    /// A shape that no data can have.
    #[error("tensor {tensor:?}: shape {shape}: {reason}")]
    Shape {
        /// Its name.
        tensor: String,
        /// The shape as written, cut when long.
        shape: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// As many elements as the shape does not say.
    #[error("tensor {tensor:?}: the shape asks for {expected} elements, the data has {found}")]
    Length {
        /// Its name.
        tensor: String,
        /// The product of the shape.
        expected: usize,
        /// The elements in the data; when there are too many, the first one too many.
        found: usize,
    },
    /// Nested data that does not follow the shape.
    #[error("tensor {tensor:?}: nested data must follow the shape, or be flat")]
    Nesting {
        /// Its name.
        tensor: String,
    },
    /// An element that its datatype cannot hold.
    #[error("tensor {tensor:?}: element {index} ({value}) is not a {datatype}")]
    Value {
        /// Its name.
        tensor: String,
        /// The position of the element, row-major.
        index: usize,
        /// The element as written, cut when long.
        value: String,
        /// What it should be.
        datatype: Datatype,
    },
    /// Neither `data` nor `binary_data_size`, or both.
    #[error("tensor {tensor:?}: exactly one of data and parameters.binary_data_size is needed")]
    NoData {
        /// Its name.
        tensor: String,
    },
    /// A datatype that the protocol does not allow as JSON.
    #[error("tensor {tensor:?}: {datatype} cannot be JSON; it needs the binary tensor extension")]
    BinaryOnly {
        /// Its name.
        tensor: String,
        /// FP16 or BF16.
        datatype: Datatype,
    },
    /// A value that JSON has no word for: NaN, an infinity, bytes that are no UTF-8.
    #[error("tensor {tensor:?}: element {index} cannot be written as JSON")]
    NotJson {
        /// Its name.
        tensor: String,
        /// The position of the element, row-major.
        index: usize,
    },
    /// Binary data that does not fit the shape, or ends too early.
    #[error("tensor {tensor:?}: its {found} bytes of binary data do not fit its shape")]
    Binary {
        /// Its name.
        tensor: String,
        /// The bytes that it has.
        found: usize,
    },
    /// Binary data that belongs to no tensor.
    #[error("{0} bytes after the binary data of the last tensor")]
    Trailing(usize),
    /// A tensor that is asked for and not there.
    #[error("there is no output {tensor:?}")]
    Missing {
        /// Its name.
        tensor: String,
    },
    /// The first dimension is not the number of rows that it must be.
    #[error("tensor {tensor:?}: {found} rows where there must be {expected}")]
    Rows {
        /// Its name.
        tensor: String,
        /// The rows that the caller has.
        expected: usize,
        /// The rows that the tensor has.
        found: usize,
    },
    /// A row that the batch does not have.
    #[error("there is no row {row} in a batch of {rows}")]
    NoRow {
        /// The row asked for, counted from 0.
        row: usize,
        /// The rows that there are.
        rows: usize,
    },
    /// Two answers whose tensors cannot be merged.
    #[error("tensor {tensor:?}: the rows of two answers differ in datatype or shape")]
    Unmergeable {
        /// Its name.
        tensor: String,
    },
    /// A rule over numbers met a tensor of something else.
    #[error("tensor {tensor:?}: {datatype} holds no numbers to compare")]
    NotNumeric {
        /// Its name.
        tensor: String,
        /// What it holds.
        datatype: Datatype,
    },
    /// A NaN, an infinity or nothing at all where a number decides.
    #[error("tensor {tensor:?}: row {row} has no finite values to compare")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// The row, counted from 0.
        row: usize,
    },
    /// A golden file that no answer could meet.
    #[error("no golden request: {0}")]
    Golden(String),
    /// More elements than we are willing to make.
    #[error("{elements} elements are more than the limit of {limit}")]
    TooLarge {
        /// The elements that would be needed (saturated).
        elements: usize,
        /// The limit.
        limit: usize,
    },
}

impl Error {
    /// Whether the message may be a proper one that only cannot be said in another protocol.
    #[must_use]
    pub const fn is_untranslatable(&self) -> bool {
        matches!(self, Self::NoTensors { .. } | Self::Undeclared(_) | Self::NoWords { .. })
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The longest piece of a payload that an error quotes.
const QUOTED: usize = 40;

/// `text`, cut to what an error may quote.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
