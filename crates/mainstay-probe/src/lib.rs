//! Active checks of endpoints, models and dependencies.
