//! What prejoin makes true of the user's cloud-config itself, before anything on the node starts: mounts, and
//! certificates to be trusted.

use std::fmt::Write as _;

use prejoin_profiles::cluster::{CloudConfig, Cluster, Node};
use serde_json::{Map, Value, json};

use crate::NodeFile;

/// Folder of the certificates that are trusted beside Debian's.
const CERTIFICATES: &str = "/etc/ssl/prejoin";
/// Keys that say which those are; the second is the older spelling.
const CERTIFICATE_KEYS: [&str; 2] = ["ca_certs", "ca-certs"];

/// Both cloud-configs of a node, the cluster's first.
fn documents<'a>(cluster: &'a Cluster, node: &'a Node) -> impl Iterator<Item = &'a CloudConfig> {
    [&cluster.cloud_init, &node.cloud_init]
        .into_iter()
        .flatten()
}

/// The files of mounts and certificates.
pub(crate) fn files(cluster: &Cluster, node: &Node) -> Vec<NodeFile> {
    let mounts = documents(cluster, node).flat_map(|document| document.mounts());
    let mut table = String::new();
    // What is no mount was refused by the check.
    for mount in mounts.filter_map(Result::ok) {
        let [source, point] = [&mount.source, &mount.point].map(|word| fstab_word(word));
        let (kind, options) = (&mount.kind, fstab_word(&mount.options));
        let (dump, pass) = (mount.dump, mount.pass);
        let _ = writeln!(
            table,
            "{source}\t{point}\t{kind}\t{options}\t{dump}\t{pass}"
        );
    }
    let mut files = Vec::new();
    if !table.is_empty() {
        files.push(NodeFile::text("etc/fstab", 0o644, table));
    }
    let certificates = documents(cluster, node).flat_map(trusted);
    for (index, certificate) in certificates.enumerate() {
        let path = format!("{CERTIFICATES}/own-{}.crt", index + 1);
        let text = format!("{}\n", certificate.trim());
        files.push(NodeFile::text(path.trim_start_matches('/'), 0o644, text));
    }
    files
}

/// Takes what is made here out of the document that cloud-init gets, and puts in what makes the system's list of
/// certificates. At every start, since that list is the image's, and the next image has another.
pub(crate) fn replace(document: &mut Map<String, Value>, cluster: &Cluster, node: &Node) {
    document.remove("mounts");
    for key in CERTIFICATE_KEYS {
        document.remove(key);
    }
    if documents(cluster, node).flat_map(trusted).next().is_none() {
        return;
    }
    let command = json!(["update-ca-certificates", "--localcertsdir", CERTIFICATES]);
    let commands = document.entry("bootcmd").or_insert_with(|| json!([]));
    if let Value::Array(list) = commands {
        list.insert(0, command);
    }
}

/// The certificates of a cloud-config.
fn trusted(document: &CloudConfig) -> impl Iterator<Item = &str> {
    CERTIFICATE_KEYS
        .iter()
        .filter_map(move |key| document.value.get(key)?.get("trusted")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
}

/// fstab(5): blanks and backslashes in octal.
fn fstab_word(word: &str) -> String {
    word.replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
}
