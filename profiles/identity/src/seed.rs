use prejoin_profiles::cluster::{Cluster, Node};
use prejoin_wire::digest::Digest;
use prejoin_wire::handoff::LARGEST_DOCUMENT;
use serde::Serialize;

use crate::{Error, cloud_config, document, network_config};

/// cloud-init's NoCloud seed: the three files by the names they have on the identity partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// `user-data`: a `#cloud-config` document.
    pub user_data: String,
    /// `meta-data`: instance-id and host name.
    pub meta_data: String,
    /// `network-config`, version 2.
    pub network_config: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MetaData<'a> {
    instance_id: &'a str,
    local_hostname: &'a str,
}

impl Seed {
    /// The seed of a node.
    ///
    /// The instance-id is `prejoin-<node>-<16 digits>`, the digits being those of the SHA-256 of user-data and
    /// network-config: cloud-init runs its per-instance modules again when, and only when, one of the two changed.
    pub fn of(cluster: &Cluster, node: &Node) -> Result<Seed, Error> {
        let user_data = cloud_config::user_data(cluster, node)?;
        let network_config = network_config::network_config(cluster, node);
        let name = node.name.as_str();
        let digest = Digest::of(
            [user_data.as_bytes(), network_config.as_bytes()]
                .concat()
                .as_slice(),
        )
        .to_string();
        let instance_id = format!("prejoin-{name}-{}", &digest[..16]);
        let meta_data = document::yaml(&MetaData {
            instance_id: &instance_id,
            local_hostname: name,
        });
        let seed = Seed {
            user_data,
            meta_data,
            network_config,
        };
        for (file, text) in seed.files() {
            let size = text.len() as u64;
            if size > LARGEST_DOCUMENT {
                let own = node.cloud_init.as_ref().or(cluster.cloud_init.as_ref());
                let position = own.map_or(node.name.position, |document| document.position);
                return Err(Error::Large {
                    file,
                    node: name.to_owned(),
                    size,
                    position,
                });
            }
        }
        Ok(seed)
    }

    /// Name and text of each file.
    pub fn files(&self) -> [(&'static str, &str); 3] {
        [
            ("user-data", &self.user_data),
            ("meta-data", &self.meta_data),
            ("network-config", &self.network_config),
        ]
    }
}
