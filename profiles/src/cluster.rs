//! The cluster file: one document that says what every node is.
//!
//! [`Cluster::parse`] turns text into values that are well-formed one by one (addresses are addresses, keys are keys)
//! with the defaults filled in; whether they make sense together is `check`'s question.

mod cloud_config;
mod disk;
mod endpoint;
mod file;
mod id;
mod kubernetes;
mod mount;
mod network;
mod node;
mod raw;
mod resolve;
mod user;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use cloud_config::{CloudConfig, PROTECTED_KEYS, Step};
pub use disk::DiskSelector;
pub use endpoint::{Endpoint, Provider};
pub use file::{Content, File};
pub use id::with_id;
pub use kubernetes::{Containerd, Distribution, Kubernetes};
pub use mount::{Mount, MountProblem};
pub use network::Network;
pub use node::{Effect, Node, Role, Taint};
pub use user::{PLACEHOLDER_KEY, SshKey, User, with_keys};

use crate::finding::{Code, Finding, private_key};
use crate::yaml::{self, Located, Position};
use uuid::Uuid;

/// A cluster as its file describes it, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Name, a DNS label.
    pub name: Located<String>,
    /// Random, and this cluster's alone: what its nodes' disks are known by is derived from it. No image is built
    /// without one.
    pub id: Option<Located<Uuid>>,
    /// Operating system, the name of a file under `os/`.
    pub os: Located<String>,
    /// What runs on the nodes.
    pub kubernetes: Kubernetes,
    /// Where the API server is reached; without one it is the only control plane's address.
    pub endpoint: Option<Endpoint>,
    /// The networks of nodes, pods, services and load balancers.
    pub network: Network,
    /// Time zone of all nodes (`Europe/Berlin`); UTC without.
    pub timezone: Option<Located<String>>,
    /// People who may log in.
    pub users: Vec<User>,
    /// Debian packages on every node beside those of operating system and board.
    pub packages: Vec<Located<String>>,
    /// Package sets on every node, names of files under `sets/`.
    pub sets: Vec<Located<String>>,
    /// Files on every node.
    pub files: Vec<File>,
    /// The user's own cloud-config, merged into the generated one on every node.
    pub cloud_init: Option<CloudConfig>,
    /// Addresses of package archives by archive name, tried in order.
    pub mirrors: BTreeMap<String, Vec<Located<String>>>,
    /// Maintainer scripts that were read and found to do nothing an image needs: `package/script@sha256:digest`.
    pub accept_scripts: Vec<Located<String>>,
    /// Folder or address that Kubernetes binaries and images are taken from instead of their usual places.
    pub artifacts: Option<Located<String>>,
    /// The nodes in file order.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Reads a cluster file. All malformed values are reported at once; errors of YAML itself one at a time.
    pub fn parse(text: &str) -> Result<Cluster, Vec<Finding>> {
        let raw = crate::yaml::parse::<raw::Cluster>(text)
            .map_err(|error| vec![unreadable(error, text)])?;
        resolve::cluster(raw)
    }

    /// JSON schema (draft 2020-12) of the file, for editors.
    pub fn schema() -> String {
        let mut schema = schemars::schema_for!(raw::Cluster).to_value();
        unwrap_descriptions(&mut schema);
        let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
        text.push('\n');
        text
    }

    /// The control planes in file order; the first is the one that may found the cluster.
    pub fn control_planes(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .filter(|node| *node.role == Role::ControlPlane)
    }

    /// The workers in file order.
    pub fn workers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| *node.role == Role::Worker)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name.value == name)
    }

    /// Host part of the API server's address: the endpoint's name, else its address, else the first control plane's
    /// address. `None` in a cluster without control planes and endpoint.
    pub fn api_host(&self) -> Option<String> {
        let endpoint = self.endpoint.as_ref();
        endpoint
            .and_then(|e| {
                e.name
                    .as_ref()
                    .map(ToString::to_string)
                    .or(e.address.as_ref().map(ToString::to_string))
            })
            .or_else(|| {
                self.control_planes()
                    .next()
                    .map(|node| node.address.to_string())
            })
    }

    /// Port of the API server.
    pub fn api_port(&self) -> u16 {
        self.endpoint
            .as_ref()
            .map_or(Endpoint::PORT, |endpoint| endpoint.port.value)
    }

    /// Address that the API server's name must resolve to on the nodes: the endpoint's, else the first control
    /// plane's.
    pub fn api_address(&self) -> Option<IpAddr> {
        let shared = self
            .endpoint
            .as_ref()
            .and_then(|e| e.address.as_ref().map(|a| a.value));
        shared.or_else(|| self.control_planes().next().map(|node| node.address.value))
    }
}

/// Joins the lines of descriptions: where a Rust comment breaks is not where an editor's window does.
fn unwrap_descriptions(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(map) => map.iter_mut().for_each(|(key, value)| match value {
            serde_json::Value::String(text) if key == "description" => {
                *text = text.replace('\n', " ")
            }
            value => unwrap_descriptions(value),
        }),
        serde_json::Value::Array(list) => list.iter_mut().for_each(unwrap_descriptions),
        _ => {}
    }
}

/// A pasted private key breaks YAML, and the error would point at the middle of it.
fn unreadable(error: yaml::Error, text: &str) -> Finding {
    let Some(start) = private_key(text) else {
        return error.into();
    };
    let line = text[..start].lines().count().max(1);
    let position = Position {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: 1,
        length: 1,
    };
    let message = "a private key stands in the file, and the file is not a cluster file with it";
    let finding = Finding::error(Code::PrivateKey, position, &"", message);
    finding.hint("it is no longer secret once shared: make a new one, and put the line of its `.pub` file here")
}
