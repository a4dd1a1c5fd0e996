//! The rights of a container. Everything is closed unless it is opened by name.

use std::collections::HashMap;

use bollard::models::{HostConfig, HostConfigLogConfig, PortBinding};

use falco_core::Folder;

use crate::action;
use crate::network::NETWORK;
use crate::protocol::Protocol;

/// The port of a container that is reached by one.
pub(crate) const PORT: &str = "8080/tcp";

/// Docker's word for no network.
const NO_NETWORK: &str = "none";

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
    /// Docker's network of the containers: `none`, `bridge`, or a network of the user's. Containers that are reached by a port
    /// are put into a network of Falco's own instead of none, which leads nowhere.
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
            network: NO_NETWORK.into(),
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

    /// The network of containers that speak `protocol`: those with a port get Falco's own instead of none.
    pub(crate) fn network_of(&self, protocol: Protocol) -> &str {
        if protocol.has_port() && self.network == NO_NETWORK { NETWORK } else { &self.network }
    }

    /// The same in Docker's words.
    pub(crate) fn host_config(
        &self,
        protocol: Protocol,
        memory_mib: Option<u32>,
        cpus: Option<f64>,
    ) -> HostConfig {
        let bytes = memory_mib.map(|mib| i64::from(mib) * 1024 * 1024);
        let in_memory = format!("rw,exec,size={}m", memory_mib.unwrap_or(TMP_MIB));
        let mut folders = HashMap::from([("/tmp".to_owned(), in_memory.clone())]);
        if protocol == Protocol::Action {
            folders.insert(action::FOLDER.to_owned(), in_memory);
        }
        // The port is one of the daemon's choice, and no other machine reaches it.
        let here =
            PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(String::new()) };
        let ports = HashMap::from([(PORT.to_owned(), Some(vec![here]))]);
        HostConfig {
            // Gone with its process, also when nobody is left to remove it.
            auto_remove: Some(true),
            init: Some(true),
            memory: bytes,
            // Without swap beside it, memory is the limit that was asked for.
            memory_swap: bytes,
            nano_cpus: cpus.map(|cpus| (cpus * 1e9) as i64),
            network_mode: Some(self.network_of(protocol).to_owned()),
            port_bindings: protocol.has_port().then_some(ports),
            readonly_rootfs: Some(self.read_only_root),
            tmpfs: Some(folders),
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

    /// A folder under its own path.
    pub(crate) fn of(folder: &Folder) -> Self {
        Self { from: folder.path.clone(), to: folder.path.clone(), writable: folder.writable }
    }

    pub(crate) fn to_bind(&self) -> String {
        let mode = if self.writable { "rw" } else { "ro" };
        format!("{}:{}:{mode}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_closed_unless_it_is_opened() {
        let closed = Isolation::default().host_config(Protocol::Pipe, Some(64), None);
        assert_eq!(closed.network_mode.as_deref(), Some("none"));
        assert_eq!(closed.readonly_rootfs, Some(true));
        assert_eq!(closed.cap_drop, Some(vec!["ALL".into()]));
        assert_eq!(closed.security_opt, Some(vec!["no-new-privileges".into()]));
        assert_eq!((closed.memory, closed.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(closed.pids_limit, Some(512));
        assert_eq!(closed.port_bindings, None);

        let open = Isolation::default()
            .with_network("bridge")
            .with_read_only_root(false)
            .with_capability("NET_RAW")
            .with_new_privileges(true)
            .with_max_processes(None)
            .with_mount(Mount::read_only("/a", "/b"))
            .host_config(Protocol::Pipe, None, Some(0.5));
        assert_eq!(open.network_mode.as_deref(), Some("bridge"));
        assert_eq!(open.readonly_rootfs, Some(false));
        assert_eq!(open.cap_add, Some(vec!["NET_RAW".into()]));
        assert_eq!((open.security_opt, open.pids_limit), (None, None));
        assert_eq!(open.binds, Some(vec!["/a:/b:ro".into()]));
        assert_eq!(open.nano_cpus, Some(500_000_000));
    }

    #[test]
    fn a_port_is_published_on_this_machine_alone_in_a_network_that_leads_nowhere() {
        let with_port = Isolation::default().host_config(Protocol::Action, None, None);
        assert_eq!(with_port.network_mode.as_deref(), Some(NETWORK));
        let bindings = with_port.port_bindings.unwrap();
        let binding = &bindings[PORT].as_ref().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        assert!(with_port.tmpfs.unwrap().contains_key(action::FOLDER));
        let own = Isolation::default().with_network("mine");
        assert_eq!(own.network_of(Protocol::Lambda), "mine");
    }
}
