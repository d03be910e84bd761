//! The embedded engine as an Open Inference Protocol server of its own.
