//! Checks and generators that the repository runs on itself.

fn main() {}
