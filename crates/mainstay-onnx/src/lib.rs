//! ONNX models inside the process.
