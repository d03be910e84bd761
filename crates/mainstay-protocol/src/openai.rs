//! The OpenAI API over HTTP, as providers and servers of language models speak it.
//!
//! - [`path`]: what a path asks for.
//! - [`head`]: what a request says at its top level, read without looking into the rest.
//! - [`error`]: errors as they are written, and what servers mean by them.
//! - [`stream`]: a streamed answer event by event: content, end, failure, tokens.
//! - [`continuation`]: what is asked of another server to go on with a cut answer.
//! - [`usage`]: the tokens that an answer says it took.
//! - [`members`]: the members of an object, without looking into them.
//!
//! Messages are passed on as they come; only the model's name is ever replaced, in its place.
//! Source: <https://platform.openai.com/docs/api-reference>, vLLM's `entrypoints/openai`.

pub mod continuation;
pub mod error;
pub mod head;
pub mod members;
pub mod path;
pub mod stream;
pub mod usage;
