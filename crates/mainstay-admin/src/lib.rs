//! The administrative listener: status, metrics, records and operator verbs.
