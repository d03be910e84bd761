//! Arrows point inward only: pure crates depend on pure ones, shells on pure ones and shells,
//! edges on all.
//!
//! Each crate names its ring in its manifest (`[package.metadata.mainstay] ring = "pure"`).
//! Outside crates that bring a runtime, sockets, a clock or ambient randomness may not be
//! reached from a pure crate, not even through another crate; test dependencies may.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use cargo_metadata::{
    Dependency, DependencyKind, Metadata, MetadataCommand, Node, NodeDep, Package, PackageId,
};

/// What no pure crate may reach, and why.
const BANNED: [(&str, &str); 14] = [
    ("async-io", "a runtime"),
    ("axum", "a server"),
    ("chrono", "reads the wall clock"),
    ("getrandom", "ambient randomness; a fastrand::Rng is passed in"),
    ("hyper", "a protocol engine that does I/O"),
    ("libc", "the system"),
    ("mio", "sockets"),
    ("rand", "ambient randomness; a fastrand::Rng is passed in"),
    ("reqwest", "a client"),
    ("rustix", "the system"),
    ("socket2", "sockets"),
    ("time", "reads the wall clock"),
    ("tokio", "a runtime"),
    ("tonic", "a server and a client"),
];

/// Where a crate stands; an arrow may point to the same ring or to a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ring {
    Pure,
    Shell,
    Edge,
}

impl Ring {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "pure" => Some(Self::Pure),
            "shell" => Some(Self::Shell),
            "edge" => Some(Self::Edge),
            _ => None,
        }
    }
}

/// One arrow between two crates of the workspace.
struct Arrow<'a> {
    from: (&'a str, Ring),
    to: (&'a str, Ring),
}

impl Arrow<'_> {
    fn finding(&self) -> Option<String> {
        let ((from, outer), (to, inner)) = (self.from, self.to);
        // An edge is a program: nothing is built on it.
        let allowed = inner <= outer && inner != Ring::Edge;
        (!allowed).then(|| format!("{from} ({outer:?}) may not depend on {to} ({inner:?})"))
    }
}

/// Arrows that point outward, crates without a ring, and banned crates that a pure one reaches.
pub(super) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let metadata = read(root)?;
    let mut found = Vec::new();
    let mut rings = BTreeMap::new();
    for package in metadata.workspace_packages() {
        match ring_of(package) {
            Some(ring) => drop(rings.insert(package.name.as_str(), ring)),
            None => found.push(format!("{} names no ring in its manifest", package.name)),
        }
    }
    found.extend(outward(&metadata, &rings));
    for package in metadata.workspace_packages() {
        if rings.get(package.name.as_str()) == Some(&Ring::Pure) {
            found.extend(reached(&metadata, package)?);
        }
    }
    Ok(found)
}

/// The crates of the pure ring; each stands in a folder of its own name.
pub(super) fn pure(root: &Path) -> anyhow::Result<Vec<String>> {
    let metadata = read(root)?;
    let packages = metadata.workspace_packages();
    let pure = packages.iter().filter(|package| ring_of(package) == Some(Ring::Pure));
    Ok(pure.map(|package| package.name.to_string()).collect())
}

/// The workspace as cargo sees it, with everything that it links.
pub(super) fn read(root: &Path) -> anyhow::Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).exec().context("cargo metadata")
}

fn ring_of(package: &Package) -> Option<Ring> {
    Ring::parse(package.metadata.get("mainstay")?.get("ring")?.as_str()?)
}

fn outward(metadata: &Metadata, rings: &BTreeMap<&str, Ring>) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(from) = rings.get_key_value(package.name.as_str()) else { continue };
        // The tests of a program may run another one.
        let in_tests =
            |d: &&Dependency| *from.1 == Ring::Edge && d.kind == DependencyKind::Development;
        let built_on = package.dependencies.iter().filter(|d| !in_tests(d));
        let inside = built_on.filter_map(|d| rings.get_key_value(&*d.name));
        let arrows = inside.map(|to| Arrow { from: (from.0, *from.1), to: (to.0, *to.1) });
        found.extend(arrows.filter_map(|arrow| arrow.finding()));
    }
    found
}

/// Banned crates among everything that `package` links, each with the way to it.
fn reached(metadata: &Metadata, package: &Package) -> anyhow::Result<Vec<String>> {
    let links = links(metadata)?;
    let mut queue = vec![(&package.id, package.name.to_string())];
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some((id, way)) = queue.pop() {
        for next in links.get(id).into_iter().flatten().filter(|next| seen.insert(**next)) {
            let name = metadata[*next].name.as_str();
            let way = format!("{way} -> {name}");
            if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
                found.push(format!("{way}: {why}; the pure ring has none"));
            }
            queue.push((*next, way));
        }
    }
    Ok(found)
}

/// What each package links: its normal dependencies, without those of builds and tests.
fn links(metadata: &Metadata) -> anyhow::Result<BTreeMap<&PackageId, Vec<&PackageId>>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
    Ok(resolve.nodes.iter().map(|node| (&node.id, linked(node))).collect())
}

fn linked(node: &Node) -> Vec<&PackageId> {
    let normal = |dep: &&NodeDep| dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
    node.deps.iter().filter(normal).map(|dep| &dep.pkg).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(from: Ring, to: Ring) -> Option<String> {
        Arrow { from: ("outer", from), to: ("inner", to) }.finding()
    }

    #[test]
    fn only_inward_arrows_pass() {
        use Ring::{Edge, Pure, Shell};
        for (from, to) in [(Pure, Pure), (Shell, Pure), (Shell, Shell), (Edge, Shell)] {
            assert_eq!(finding(from, to), None);
        }
        for (from, to) in [(Pure, Shell), (Pure, Edge), (Shell, Edge), (Edge, Edge)] {
            assert!(finding(from, to).is_some(), "{from:?} -> {to:?}");
        }
    }
}
