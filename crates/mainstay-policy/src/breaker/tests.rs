//! What a breaker promises, as tables and as properties.
