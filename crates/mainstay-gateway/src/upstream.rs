//! Connections to endpoints: kept by each worker for itself, so that none is ever locked.

pub(crate) mod body;
pub(crate) mod connections;
pub(crate) mod exchange;

pub(crate) use body::OutBody;
pub(crate) use connections::{Connection, Connections};
pub(crate) use exchange::{Exchange, Failure, exchange};
