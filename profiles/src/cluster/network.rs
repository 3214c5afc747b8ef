use std::net::IpAddr;

use crate::units::{AddressRange, Subnet};
use crate::yaml::Located;

/// The networks of nodes, pods, services and load balancers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Network of the nodes.
    pub subnet: Located<Subnet>,
    /// Default route of the nodes.
    pub gateway: Located<IpAddr>,
    /// Name servers of the nodes; the gateway when the file names none.
    pub dns: Vec<Located<IpAddr>>,
    /// DNS search domains of the nodes.
    pub search: Vec<Located<String>>,
    /// Time servers by name or address; the operating system's own when empty.
    pub ntp: Vec<Located<String>>,
    /// Network of the pods.
    pub pods: Located<Subnet>,
    /// Network of the services.
    pub services: Located<Subnet>,
    /// Addresses that a load balancer in the cluster (MetalLB, Cilium) hands out.
    pub load_balancer: Vec<Located<AddressRange>>,
    /// Largest packet in bytes; the interface's own without.
    pub mtu: Option<Located<u16>>,
}
