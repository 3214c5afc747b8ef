use std::collections::{BTreeMap, BTreeSet};

use prejoin_profiles::cluster::{Cluster, Content, Distribution, File, Node};
use prejoin_profiles::os::Ids;

use crate::{Error, accounts, hosts, k3s, kubeadm, own};

/// A regular file of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// Path without a leading slash, as archives have it.
    pub path: String,
    /// Permission bits, at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl NodeFile {
    /// A text of root's.
    pub(crate) fn text(path: &str, mode: u16, text: String) -> Self {
        NodeFile {
            path: path.to_owned(),
            mode,
            uid: 0,
            gid: 0,
            content: text.into_bytes(),
        }
    }
}

/// Files that make the machine this node and that no file of the user's may replace.
const PROTECTED: [&str; 2] = ["etc/hostname", "etc/machine-id"];

/// All files of a node but the cloud-init seed, in path order and with every path once.
///
/// Of two files with one path the more specific one is taken: the node's, the cluster's, the generated one.
/// `ids` are the operating system's fixed numbers of users and groups; `source` gives the bytes of a file beside the
/// cluster file, or says why it cannot.
pub fn files(
    cluster: &Cluster,
    node: &Node,
    ids: &Ids,
    source: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<Vec<NodeFile>, Error> {
    let mut files: BTreeMap<String, NodeFile> = BTreeMap::new();
    for file in generated(cluster, node)? {
        files.insert(file.path.clone(), file);
    }
    if let Some(file) = homes(cluster, node) {
        files.insert(file.path.clone(), file);
    }
    for file in cluster.files.iter().chain(&node.files) {
        let made = users(file, cluster, ids, source)?;
        if PROTECTED.contains(&made.path.as_str()) {
            let reason = "it is what makes the machine this node".to_owned();
            return Err(Error::Path {
                path: file.path.value.clone(),
                reason,
                position: file.path.position,
            });
        }
        files.insert(made.path.clone(), made);
    }
    for file in cluster.files.iter().chain(&node.files) {
        // Whichever of the two is the user's: no file can have others below it.
        let below = format!("{}/", file.path.trim_start_matches('/'));
        if let Some(other) = files.keys().find(|other| other.starts_with(&below)) {
            let reason = format!("`/{other}` lies below it");
            return Err(Error::Path {
                path: file.path.value.clone(),
                reason,
                position: file.path.position,
            });
        }
        let mut parent = below.trim_end_matches('/');
        while let Some((above, _)) = parent.rsplit_once('/') {
            if files.contains_key(above) {
                let reason = format!("`/{above}` is a file");
                return Err(Error::Path {
                    path: file.path.value.clone(),
                    reason,
                    position: file.path.position,
                });
            }
            parent = above;
        }
    }
    Ok(files.into_values().collect())
}

fn generated(cluster: &Cluster, node: &Node) -> Result<Vec<NodeFile>, Error> {
    let mut files = vec![
        NodeFile::text("etc/hostname", 0o644, format!("{}\n", node.name.value)),
        NodeFile::text("etc/hosts", 0o644, hosts::hosts(cluster)),
    ];
    if !cluster.network.ntp.is_empty() {
        // Not through cloud-init, which comes so late that certificates have been looked at by then.
        let servers: Vec<&str> = cluster
            .network
            .ntp
            .iter()
            .map(|server| server.as_str())
            .collect();
        let text = format!("[Time]\nNTP={}\n", servers.join(" "));
        files.push(NodeFile::text(
            "etc/systemd/timesyncd.conf.d/50-prejoin.conf",
            0o644,
            text,
        ));
        let mut packages = cluster.packages.iter().chain(&node.packages);
        if packages.any(|package| package.value == "chrony") {
            let sources = servers
                .iter()
                .map(|server| format!("server {server} iburst\n"));
            files.push(NodeFile::text(
                "etc/chrony/sources.d/50-prejoin.sources",
                0o644,
                sources.collect::<String>(),
            ));
        }
    }
    files.extend(own::files(cluster, node));
    files.extend(match cluster.kubernetes.distribution.value {
        Distribution::Kubeadm => kubeadm::files(cluster, node)?,
        Distribution::K3s => k3s::files(cluster, node)?,
        Distribution::None => Vec::new(),
    });
    Ok(files)
}

/// Gives people the folders of their files: the archive is unpacked before cloud-init makes them, and `useradd` leaves
/// a home that exists to whoever has it. By number, since tmpfiles.d(5) may come first, too.
fn homes(cluster: &Cluster, node: &Node) -> Option<NodeFile> {
    let mut folders = BTreeSet::new();
    for file in cluster.files.iter().chain(&node.files) {
        let mut parts = file
            .path
            .strip_prefix("/home/")
            .unwrap_or_default()
            .split('/');
        let Some(id) = parts
            .next()
            .and_then(|name| accounts::person_named(name, cluster))
        else {
            continue;
        };
        let folder = |(end, _)| &file.path[..end];
        folders.extend(
            file.path
                .match_indices('/')
                .skip(2)
                .map(folder)
                .map(|folder| (folder, id)),
        );
    }
    let line = |(folder, id): (&str, u32)| {
        let mode = if folder.matches('/').count() == 2 {
            "0700"
        } else {
            "0755"
        };
        // Quoted as in configuration files of systemd, and `%` begins a specifier.
        let path = folder
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('%', "%%");
        format!("d \"{path}\" {mode} {id} {id} -\n")
    };
    let text: String = folders.into_iter().map(line).collect();
    (!text.is_empty()).then(|| NodeFile::text("etc/tmpfiles.d/50-prejoin-home.conf", 0o644, text))
}

/// A file that the user wrote.
fn users(
    file: &File,
    cluster: &Cluster,
    ids: &Ids,
    source: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<NodeFile, Error> {
    let path = || file.path.value.clone();
    let unknown = |name: &str| Error::Owner {
        path: path(),
        name: name.to_owned(),
        position: file.owner.position,
    };
    let (user, group) = file
        .owner
        .split_once(':')
        .ok_or_else(|| unknown(&file.owner))?;
    Ok(NodeFile {
        path: file.path.trim_start_matches('/').to_owned(),
        mode: u16::try_from(file.mode & 0o7777).expect("twelve bits"),
        uid: accounts::user(user, cluster, ids).ok_or_else(|| unknown(user))?,
        gid: accounts::group(group, cluster, ids).ok_or_else(|| unknown(group))?,
        content: match &file.content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Source(beside) => source(beside).map_err(|reason| Error::Source {
                path: path(),
                source_path: beside.value.clone(),
                reason,
                position: beside.position,
            })?,
        },
    })
}
