//! The table by example: what each server really says.
