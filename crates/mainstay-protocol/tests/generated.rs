//! The structs of gRPC's messages are those of `proto/*.proto`; so are the descriptions that
//! reflection hands out. `MAINSTAY_BLESS=1` writes both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use prost::Message;

const FILES: [&str; 4] =
    ["inference.proto", "health.proto", "reflection_v1.proto", "reflection_v1alpha.proto"];

fn below(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn compare(name: &str, generated: &[u8]) {
    let path = below("src/grpc/generated").join(name);
    if std::env::var_os("MAINSTAY_BLESS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(committed == generated, "{} is stale: run with MAINSTAY_BLESS=1", path.display());
}

#[test]
fn what_is_generated_is_committed() {
    let described = protox::compile(FILES, [below("proto")]).unwrap();
    for file in &described.file {
        let mut plain = file.clone();
        plain.source_code_info = None;
        compare(&file.name().replace(".proto", ".bin"), &plain.encode_to_vec());
    }
    let out = tempfile::tempdir().unwrap();
    let mut build = prost_build::Config::new();
    build.btree_map(["."]).bytes(["."]).out_dir(out.path());
    build.compile_fds(described).unwrap();
    for package in ["inference", "grpc.health.v1", "grpc.reflection.v1"] {
        let name = format!("{package}.rs");
        compare(&name, &std::fs::read(out.path().join(&name)).unwrap());
    }
}
