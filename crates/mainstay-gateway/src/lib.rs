//! The data path: listeners, connections, and the way of a request.
