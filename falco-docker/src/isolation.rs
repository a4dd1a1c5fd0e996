//! The rights of a container. Everything is closed unless it is opened by name.

use std::collections::HashMap;

use bollard::models::{HostConfig, HostConfigLogConfig};

/// Size of `/tmp` where a function has no memory limit, in MiB. It is memory.
const TMP_MIB: u32 = 512;

/// The rights of containers.
///
/// By default: no network, a read-only root file system with `/tmp` in memory, no capabilities, no new privileges, an init
/// process that ends orphans, 512 processes.
///
/// # Examples
///
/// ```
/// use falco_docker::{Isolation, Mount};
///
/// let isolation = Isolation::default()
///     .with_network("bridge")
///     .with_mount(Mount::read_only("/data/texts", "/data/texts"));
/// assert!(isolation.read_only_root);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Isolation {
    /// Docker's network of the containers: `none`, `bridge`, or a network of the user's.
    pub network: String,
    /// Whether the root file system is read-only.
    pub read_only_root: bool,
    /// Capabilities that are kept, such as `NET_RAW`.
    pub capabilities: Vec<String>,
    /// Whether processes may gain privileges, by setuid programs for example.
    pub new_privileges: bool,
    /// Most processes in a container; `None` for no limit.
    pub max_processes: Option<u32>,
    /// Folders of the daemon's machine that containers see.
    pub mounts: Vec<Mount>,
}

impl Default for Isolation {
    fn default() -> Self {
        Self {
            network: "none".into(),
            read_only_root: true,
            capabilities: Vec::new(),
            new_privileges: false,
            max_processes: Some(512),
            mounts: Vec::new(),
        }
    }
}

impl Isolation {
    /// Sets the network: `none`, `bridge`, or a network of the user's.
    #[must_use]
    pub fn with_network(mut self, network: impl Into<String>) -> Self {
        self.network = network.into();
        self
    }

    /// Sets whether the root file system is read-only.
    #[must_use]
    pub fn with_read_only_root(mut self, read_only: bool) -> Self {
        self.read_only_root = read_only;
        self
    }

    /// Keeps a capability, such as `NET_RAW`.
    #[must_use]
    pub fn with_capability(mut self, capability: impl Into<String>) -> Self {
        self.capabilities.push(capability.into());
        self
    }

    /// Sets whether processes may gain privileges.
    #[must_use]
    pub fn with_new_privileges(mut self, allowed: bool) -> Self {
        self.new_privileges = allowed;
        self
    }

    /// Sets how many processes a container may have.
    #[must_use]
    pub fn with_max_processes(mut self, processes: impl Into<Option<u32>>) -> Self {
        self.max_processes = processes.into();
        self
    }

    /// Shows a folder of the daemon's machine to the containers.
    #[must_use]
    pub fn with_mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// The same in Docker's words.
    pub(crate) fn host_config(&self, memory_mib: Option<u32>, cpus: Option<f64>) -> HostConfig {
        let bytes = memory_mib.map(|mib| i64::from(mib) * 1024 * 1024);
        let tmp = format!("rw,exec,size={}m", memory_mib.unwrap_or(TMP_MIB));
        HostConfig {
            // Gone with its process, also when nobody is left to remove it.
            auto_remove: Some(true),
            init: Some(true),
            memory: bytes,
            // Without swap beside it, memory is the limit that was asked for.
            memory_swap: bytes,
            nano_cpus: cpus.map(|cpus| (cpus * 1e9) as i64),
            network_mode: Some(self.network.clone()),
            readonly_rootfs: Some(self.read_only_root),
            tmpfs: Some(HashMap::from([("/tmp".to_owned(), tmp)])),
            cap_drop: Some(vec!["ALL".into()]),
            cap_add: (!self.capabilities.is_empty()).then(|| self.capabilities.clone()),
            security_opt: (!self.new_privileges).then(|| vec!["no-new-privileges".into()]),
            pids_limit: self.max_processes.map(i64::from),
            binds: (!self.mounts.is_empty())
                .then(|| self.mounts.iter().map(Mount::to_bind).collect()),
            // The attached streams have it; the daemon would write it to a file that grows.
            log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
            ..HostConfig::default()
        }
    }
}

/// A folder of the daemon's machine that containers see.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// The folder on the daemon's machine.
    pub from: String,
    /// Where containers see it.
    pub to: String,
    /// Whether they may write to it.
    pub writable: bool,
}

impl Mount {
    /// A folder that containers read.
    pub fn read_only(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { from: from.into(), to: to.into(), writable: false }
    }

    /// A folder that containers read and write.
    pub fn writable(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { from: from.into(), to: to.into(), writable: true }
    }

    fn to_bind(&self) -> String {
        let mode = if self.writable { "rw" } else { "ro" };
        format!("{}:{}:{mode}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_closed_unless_it_is_opened() {
        let closed = Isolation::default().host_config(Some(64), None);
        assert_eq!(closed.network_mode.as_deref(), Some("none"));
        assert_eq!(closed.readonly_rootfs, Some(true));
        assert_eq!(closed.cap_drop, Some(vec!["ALL".into()]));
        assert_eq!(closed.security_opt, Some(vec!["no-new-privileges".into()]));
        assert_eq!((closed.memory, closed.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(closed.pids_limit, Some(512));

        let open = Isolation::default()
            .with_network("bridge")
            .with_read_only_root(false)
            .with_capability("NET_RAW")
            .with_new_privileges(true)
            .with_max_processes(None)
            .with_mount(Mount::read_only("/a", "/b"))
            .host_config(None, Some(0.5));
        assert_eq!(open.network_mode.as_deref(), Some("bridge"));
        assert_eq!(open.readonly_rootfs, Some(false));
        assert_eq!(open.cap_add, Some(vec!["NET_RAW".into()]));
        assert_eq!((open.security_opt, open.pids_limit), (None, None));
        assert_eq!(open.binds, Some(vec!["/a:/b:ro".into()]));
        assert_eq!(open.nano_cpus, Some(500_000_000));
    }
}
