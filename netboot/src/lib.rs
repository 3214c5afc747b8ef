//! What answers a machine on the wire: proxyDHCP, TFTP and HTTP for nodes that start from the network.
//!
//! This crate is empty until the netboot server is built; `docs/architecture.md` says what will live here and which
//! crates it may use.
