use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::yaml::Located;

/// Where clients and nodes reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// DNS name; goes into certificates and cannot change later without issuing them again.
    pub name: Option<Located<String>>,
    /// Shared (virtual) address.
    pub address: Option<Located<IpAddr>>,
    /// TCP port.
    pub port: Located<u16>,
    /// Who moves the shared address to a living control plane.
    pub provider: Located<Provider>,
}

impl Endpoint {
    /// The API server's usual port.
    pub const PORT: u16 = 6443;
}

/// Who moves the shared address to a living control plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// kube-vip on the control planes, as a static pod.
    KubeVip,
    /// keepalived from Debian on the control planes.
    Keepalived,
    /// A load balancer or router outside of the cluster.
    External,
    /// Nobody: there is one control plane, or DNS names several.
    #[default]
    None,
}
