//! YAML to a valid configuration, with every error at once.
