//! A cgroup (v2) for each process, where there is one to be had.
//!
//! Two things are asked of it, each where the machine offers it: to hold everything that a process
//! starts, so that all of it can be killed at once (`cgroup.kill`, Linux 5.14), and to enforce
//! limits (`memory.max` with `memory.oom.group`, `cpu.max`; kernel documentation,
//! admin-guide/cgroup-v2). Controllers that are bound to version 1, or not delegated to us, are
//! missing here; the limits are then kept by other means, and the status says by which.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::process::wire::Limits;

/// The period of `cpu.max`, in microseconds: the kernel's default.
const PERIOD: f64 = 100_000.0;
/// How the folders of guardians are named, before their process ids.
const PREFIX: &str = "mainstay-guardian-";

/// Where the groups of all processes are.
#[derive(Clone, Debug)]
pub(super) struct Root {
    path: PathBuf,
}

/// The group of one process; removed when dropped.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    /// Whether the kernel keeps the memory limit here.
    pub(super) memory: bool,
    /// Whether the kernel keeps the processor limit here.
    pub(super) cpu: bool,
}

impl Root {
    /// A folder for this guardian's groups, under the guardian's own group or, where that one
    /// cannot have controllers because it holds processes, under its parent.
    pub(super) fn find() -> Option<Self> {
        let mount = mount(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = mount.join(own(&groups)?.trim_start_matches('/'));
        let above = own.parent().filter(|above| above.starts_with(&mount)).map(Path::to_owned);
        let name = format!("{PREFIX}{}", std::process::id());
        let made = |place: &Path| {
            forget_former(place);
            Self::make(&place.join(&name)).ok()
        };
        // Controllers are wanted; where nobody has them, holding and killing is enough.
        let delegated = [Some(own.clone()), above].into_iter().flatten();
        let delegated = delegated.filter(|place| fs::write(subtree(place), "+memory").is_ok());
        delegated.filter_map(|place| made(&place)).next().or_else(|| made(&own))
    }

    fn make(path: &Path) -> io::Result<Self> {
        fs::create_dir(path)?;
        for controller in ["+memory", "+cpu"] {
            // One that is not there is kept by other means.
            let _missing = path.parent().map(|above| fs::write(subtree(above), controller));
            let _missing = fs::write(subtree(path), controller);
        }
        Ok(Self { path: path.to_owned() })
    }

    /// A group for one run of a process.
    pub(super) fn group(&self, run: u64, name: &str, limits: &Limits) -> io::Result<Group> {
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let path = self.path.join(format!("{name}-{run}"));
        fs::create_dir(&path)?;
        let memory = limits
            .memory
            .is_some_and(|most| fs::write(path.join("memory.max"), most.to_string()).is_ok());
        if memory {
            // All of it ends together, so that no half of a server is left; and no swap beside
            // the limit.
            let _old = fs::write(path.join("memory.oom.group"), "1");
            let _none = fs::write(path.join("memory.swap.max"), "0");
        }
        let cpu = limits.cpu.is_some_and(|processors| {
            let quota = format!("{:.0} {PERIOD:.0}", processors * PERIOD);
            fs::write(path.join("cpu.max"), quota).is_ok()
        });
        Ok(Group { path, memory, cpu })
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _not_empty = fs::remove_dir(&self.path);
    }
}

impl Group {
    /// Takes a process in.
    pub(super) fn join(&self, pid: i32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }

    /// Kills everything in it.
    pub(super) fn kill(&self) {
        let _old = fs::write(self.path.join("cgroup.kill"), "1");
    }

    /// Who is in it.
    pub(super) fn members(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// OOM kills in it; `None` where nobody counts them.
    pub(super) fn kills(&self) -> Option<u64> {
        let text = fs::read_to_string(self.path.join("memory.events")).ok()?;
        counter(&text, "oom_kill")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _not_empty = fs::remove_dir(&self.path);
    }
}

/// Removes what guardians left that were killed; a group that holds anything stays.
fn forget_former(place: &Path) {
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    for folder in folders(place) {
        if folder.file_name().to_string_lossy().starts_with(PREFIX) {
            for group in folders(&folder.path()) {
                let _in_use = fs::remove_dir(group.path());
            }
            let _in_use = fs::remove_dir(folder.path());
        }
    }
}

fn subtree(group: &Path) -> PathBuf {
    group.join("cgroup.subtree_control")
}

/// OOM kills of the whole system since it started.
pub(super) fn system_kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    counter(&text, "oom_kill").unwrap_or_default()
}

fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Where version 2 is mounted (proc(5), mountinfo).
fn mount(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| fields.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The group of this process in version 2 (cgroups(7)).
fn own(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_read_from_the_kernels_words() {
        let mounts = "30 24 0:26 / /sys rw - sysfs sysfs rw\n\
                      34 30 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount(mounts), Some("/sys/fs/cgroup".into()));
        assert_eq!(
            own("4:memory:/a\n0::/system.slice/mainstay.service\n"),
            Some("/system.slice/mainstay.service")
        );
        assert_eq!(counter("oom 3\noom_kill 2\noom_group_kill 1\n", "oom_kill"), Some(2));
    }

    #[test]
    fn limits_are_written_where_the_kernel_takes_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root { path: folder.path().to_owned() };
        let limits = Limits { memory: Some(1 << 20), files: None, cpu: Some(1.5) };
        let group = root.group(1, "pool/end:1", &limits).unwrap();
        assert!(group.memory && group.cpu);
        let read =
            |name| fs::read_to_string(folder.path().join("pool_end_1-1").join(name)).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("cpu.max"), "150000 100000");
        fs::write(folder.path().join("pool_end_1-1/memory.events"), "oom 1\noom_kill 4\n").unwrap();
        assert_eq!(group.kills(), Some(4));
    }
}
