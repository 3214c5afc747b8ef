//! What the user's cloud-config says that a node does not do, or should not.
//!
//! Which of cloud-init's modules run is data of the operating system (`cloud_init:` in os/*.yaml); which module reads
//! which key is cloud-init's own schema, and a test compares the table here with it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::files;
use crate::catalog::Catalog;
use crate::cluster::{CloudConfig, Cluster, PROTECTED_KEYS, Step};
use crate::finding::{Code, Finding};
use crate::timezones;
use crate::yaml::{nearest, shorten};
use prejoin_wire::path;

/// Modules of cloud-init 25.1 and the keys that they read.
pub const MODULES: &[(&str, &[&str])] = &[
    ("ansible", &["ansible"]),
    ("apk_configure", &["apk_repos"]),
    ("apt_configure", &["apt"]),
    ("apt_pipelining", &["apt_pipelining"]),
    ("bootcmd", &["bootcmd"]),
    ("byobu", &["byobu_by_default"]),
    ("ca_certs", &["ca-certs", "ca_certs"]),
    ("chef", &["chef"]),
    ("disable_ec2_metadata", &["disable_ec2_metadata"]),
    ("disk_setup", &["device_aliases", "disk_setup", "fs_setup"]),
    ("fan", &["fan"]),
    ("final_message", &["final_message"]),
    ("growpart", &["growpart"]),
    ("grub_dpkg", &["grub-dpkg", "grub_dpkg"]),
    ("install_hotplug", &["updates"]),
    ("keyboard", &["keyboard"]),
    (
        "keys_to_console",
        &[
            "ssh",
            "ssh_fp_console_blacklist",
            "ssh_key_console_blacklist",
        ],
    ),
    ("landscape", &["landscape"]),
    ("locale", &["locale", "locale_configfile"]),
    ("lxd", &["lxd"]),
    ("mcollective", &["mcollective"]),
    ("mounts", &["mount_default_fields", "mounts", "swap"]),
    ("ntp", &["ntp"]),
    (
        "package_update_upgrade_install",
        &[
            "apt_reboot_if_required",
            "apt_update",
            "apt_upgrade",
            "package_reboot_if_required",
            "package_update",
            "package_upgrade",
            "packages",
        ],
    ),
    ("phone_home", &["phone_home"]),
    ("power_state_change", &["power_state"]),
    ("puppet", &["puppet"]),
    ("resizefs", &["resize_rootfs"]),
    ("resolv_conf", &["manage_resolv_conf", "resolv_conf"]),
    ("rh_subscription", &["rh_subscription"]),
    ("rsyslog", &["rsyslog"]),
    ("runcmd", &["runcmd"]),
    ("salt_minion", &["salt_minion"]),
    ("scripts_vendor", &["vendor_data"]),
    ("seed_random", &["random_seed"]),
    (
        "set_hostname",
        &[
            "create_hostname_file",
            "fqdn",
            "hostname",
            "prefer_fqdn_over_hostname",
            "preserve_hostname",
        ],
    ),
    ("set_passwords", &["chpasswd", "password", "ssh_pwauth"]),
    ("snap", &["snap"]),
    ("spacewalk", &["spacewalk"]),
    (
        "ssh",
        &[
            "allow_public_ssh_keys",
            "disable_root",
            "disable_root_opts",
            "ssh_authorized_keys",
            "ssh_deletekeys",
            "ssh_genkeytypes",
            "ssh_keys",
            "ssh_publish_hostkeys",
            "ssh_quiet_keygen",
        ],
    ),
    (
        "ssh_authkey_fingerprints",
        &["authkey_hash", "no_ssh_fingerprints"],
    ),
    ("ssh_import_id", &["ssh_import_id"]),
    ("timezone", &["timezone"]),
    ("ubuntu_autoinstall", &["autoinstall"]),
    ("ubuntu_drivers", &["drivers"]),
    ("ubuntu_pro", &["ubuntu_advantage", "ubuntu_pro"]),
    (
        "update_etc_hosts",
        &["fqdn", "hostname", "manage_etc_hosts"],
    ),
    (
        "update_hostname",
        &[
            "create_hostname_file",
            "prefer_fqdn_over_hostname",
            "preserve_hostname",
        ],
    ),
    ("users_groups", &["groups", "user", "users"]),
    ("wireguard", &["wireguard"]),
    ("write_files", &["write_files"]),
    ("yum_add_repo", &["yum_repo_dir", "yum_repos"]),
    ("zypper_add_repo", &["zypper"]),
];

/// Keys of cloud-config that no module reads: they are for cloud-init itself.
pub const BASE_KEYS: [&str; 11] = [
    "cloud_config_modules",
    "cloud_final_modules",
    "cloud_init_modules",
    "launch-index",
    "merge_how",
    "merge_type",
    "migrate",
    "output",
    "reporting",
    "system_info",
    "version",
];

/// Keys that prejoin itself makes true, though cloud-init's module for them is off.
const OURS: [&str; 3] = ["ca-certs", "ca_certs", "mounts"];

/// What to do instead of a key whose module is off.
const INSTEAD: &[(&[&str], &str)] = &[
    (
        &[
            "packages",
            "package_update",
            "package_upgrade",
            "package_reboot_if_required",
            "apt",
            "apt_pipelining",
            "apt_reboot_if_required",
            "apt_update",
            "apt_upgrade",
            "snap",
        ],
        "packages are part of the image: name them under `packages:` of the cluster or of a node; mirrors under \
         `mirrors:`",
    ),
    (
        &[
            "disk_setup",
            "fs_setup",
            "growpart",
            "resize_rootfs",
            "device_aliases",
        ],
        "partitions and file systems are the layout's: `layout:` and `data_disk:` of a node",
    ),
    (
        &["swap"],
        "a kubelet does not start on a node with swap: remove it",
    ),
    (
        &["mount_default_fields"],
        "write all words of a mount: what it is, where, type, options",
    ),
    (
        &["locale", "locale_configfile"],
        "the image has C.UTF-8 and no other; containers bring their own",
    ),
    (
        &["power_state"],
        "restart by `runcmd: [[systemctl, --no-block, reboot]]`, which runs once for each change of the seed",
    ),
    (
        &["ssh_import_id"],
        "put the keys themselves under `users:`, `ssh_keys:`",
    ),
    (
        &["keyboard"],
        "bring a file `/etc/vconsole.conf`, and the package `kbd`",
    ),
    (
        &["resolv_conf", "manage_resolv_conf"],
        "use `dns:` and `search:` under `network:`",
    ),
    (
        &[
            "wireguard",
            "rsyslog",
            "ansible",
            "puppet",
            "chef",
            "salt_minion",
            "phone_home",
        ],
        "add its package under `packages:`, and start it by `runcmd`",
    ),
];

pub(super) fn check(cluster: &Cluster, catalog: &Catalog, f: &mut Vec<Finding>) {
    let of_nodes = cluster.nodes.iter().map(|node| &node.cloud_init);
    let documents = [&cluster.cloud_init].into_iter().chain(of_nodes).flatten();
    let documents: Vec<&CloudConfig> = documents.collect();
    if documents.is_empty() {
        return;
    }
    let running = catalog
        .os(&cluster.os)
        .map(|os| os.cloud_init)
        .unwrap_or_default();
    let running: BTreeSet<String> = running
        .values()
        .flatten()
        .map(|name| folded(name))
        .collect();
    for document in documents {
        let part = Part {
            document,
            cluster,
            running: &running,
        };
        part.keys(f);
        part.written_files(f);
        part.passwords(f);
        part.commands(f);
        part.timezone(f);
        part.certificates(f);
        for problem in document.mounts().into_iter().filter_map(Result::err) {
            let finding = Finding::error(Code::CloudInit, problem.position, &"", problem.message);
            f.push(finding.hint(problem.hint));
        }
    }
}

/// `write-files` and `cc_write_files` are one name.
fn folded(module: &str) -> String {
    let module = module.replace('-', "_");
    module.strip_prefix("cc_").unwrap_or(&module).to_owned()
}

/// One cloud-config, and what it is held against.
struct Part<'a> {
    document: &'a CloudConfig,
    cluster: &'a Cluster,
    /// Modules that run; empty when the operating system leaves cloud-init's own list as it is.
    running: &'a BTreeSet<String>,
}

impl Part<'_> {
    fn keys(&self, f: &mut Vec<Finding>) {
        let Some(map) = self.document.value.as_object() else {
            return;
        };
        for (key, value) in map {
            let at = self.document.place(&[Step::Key(key)]);
            let text = shorten(key);
            if let Some((_, source)) = PROTECTED_KEYS.iter().find(|(known, _)| known == key) {
                let message = format!("`{text}` is set by {source}");
                let finding = Finding::error(Code::CloudInit, at, key, message);
                f.push(finding.hint(format!("remove `{text}` from `cloud_init`")));
            } else if key.ends_with("_modules") && BASE_KEYS.contains(&key.as_str()) {
                let message = format!("`{text}` takes the place of the image's own list");
                let finding = Finding::warning(Code::CloudInit, at, key, message);
                f.push(
                    finding.hint("keep all modules of the image's `/etc/cloud/cloud.cfg` in it"),
                );
            } else if !self.is_read(key, value) {
                f.push(unread(key, at));
            }
        }
    }

    /// Whether something on the node does what the key says.
    fn is_read(&self, key: &str, value: &Value) -> bool {
        let spoken = |locale: &str| ["c.utf-8", "c.utf8", "c", "posix"].contains(&locale);
        if key == "locale"
            && value
                .as_str()
                .is_some_and(|name| spoken(&name.to_lowercase()))
        {
            return true;
        }
        if OURS.contains(&key) || BASE_KEYS.contains(&key) {
            return true;
        }
        let mut modules = MODULES
            .iter()
            .filter(|(_, keys)| keys.contains(&key))
            .peekable();
        if modules.peek().is_some() && self.running.is_empty() {
            return true;
        }
        modules.any(|(module, _)| self.running.contains(*module) || self.lists(module))
    }

    /// Whether the user turns a module on.
    fn lists(&self, module: &str) -> bool {
        let stages = BASE_KEYS.iter().filter(|key| key.ends_with("_modules"));
        stages
            .filter_map(|stage| self.document.value.get(stage)?.as_array())
            .flatten()
            .any(|name| name.as_str().is_some_and(|name| folded(name) == module))
    }

    /// Files that cloud-init writes when the node runs: the root is read-only for it, too.
    fn written_files(&self, f: &mut Vec<Finding>) {
        let Some(list) = self
            .document
            .value
            .get("write_files")
            .and_then(Value::as_array)
        else {
            return;
        };
        for (index, item) in list.iter().enumerate() {
            let Some(path) = item.get("path").and_then(Value::as_str) else {
                continue;
            };
            let steps = [
                Step::Key("write_files"),
                Step::Item(index),
                Step::Key("path"),
            ];
            let at = self.document.value_place(&steps);
            let clean = path.strip_prefix('/').unwrap_or(path);
            match path::check_file(clean.as_bytes()) {
                Ok(()) => f.extend(files::known(path, at, self.cluster)),
                Err(path::Error::Outside(top)) if ["run", "tmp"].contains(&top.as_str()) => {
                    let message =
                        format!("`/{top}` is empty after every start, and this is written once");
                    let finding = Finding::warning(Code::FilePath, at, &path, message);
                    f.push(finding.hint("use `/etc` or `/var`, or write it by `bootcmd`"));
                }
                Err(error) => {
                    let finding = Finding::error(Code::FilePath, at, &path, error.to_string());
                    let hint = error.hint();
                    f.push(Finding { hint, ..finding });
                }
            }
        }
    }

    /// Passwords that anyone can read who has the cluster file, the image or an account on the node.
    fn passwords(&self, f: &mut Vec<Finding>) {
        let value = &self.document.value;
        let mut found: Vec<Vec<Step<'_>>> = Vec::new();
        if value.get("password").is_some() {
            found.push(vec![Step::Key("password")]);
        }
        let chpasswd = value.get("chpasswd");
        if chpasswd.is_some_and(|chpasswd| chpasswd.get("list").is_some()) {
            found.push(vec![Step::Key("chpasswd"), Step::Key("list")]);
        }
        let lists = [
            (
                vec![Step::Key("chpasswd"), Step::Key("users")],
                chpasswd.and_then(|map| map.get("users")),
            ),
            (vec![Step::Key("users")], value.get("users")),
        ];
        for (at, list) in lists {
            for (index, user) in list
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .enumerate()
            {
                if let Some(key) = plain_password(user) {
                    let mut at = at.clone();
                    at.extend([Step::Item(index), Step::Key(key)]);
                    found.push(at);
                }
            }
        }
        for steps in found {
            let at = self.document.place(&steps);
            let message =
                "a password stands in the cluster file, and on the node, for everybody to read";
            let finding = Finding::error(Code::Password, at, &"", message);
            f.push(finding.hint(
                "use `password_hash:` of a user, made by `mkpasswd -m yescrypt`, or keys; and change this password",
            ));
        }
    }

    /// Commands that cannot work on a node.
    fn commands(&self, f: &mut Vec<Finding>) {
        for key in ["bootcmd", "runcmd"] {
            let list = self.document.value.get(key).and_then(Value::as_array);
            for (index, command) in list.into_iter().flatten().enumerate() {
                let words = match command {
                    Value::String(text) => text.clone(),
                    Value::Array(words) => {
                        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                        words.join(" ")
                    }
                    _ => continue,
                };
                let Some(program) = package_manager(&words) else {
                    continue;
                };
                let at = self.document.place(&[Step::Key(key), Step::Item(index)]);
                let message = format!(
                    "there is no `{program}` on a node, and nothing can be installed there"
                );
                let finding = Finding::warning(Code::CloudInit, at, &program, message);
                f.push(finding.hint("name packages under `packages:`"));
            }
        }
    }

    /// Authorities that the node trusts beside Debian's.
    fn certificates(&self, f: &mut Vec<Finding>) {
        for key in ["ca_certs", "ca-certs"] {
            let Some(value) = self.document.value.get(key) else {
                continue;
            };
            for (name, part) in value.as_object().into_iter().flatten() {
                let steps = [Step::Key(key), Step::Key(name)];
                if name != "trusted" && *part != Value::Bool(false) {
                    let at = self.document.place(&steps);
                    let message = format!("`{}` of `{key}` does nothing on a node", shorten(name));
                    let finding = Finding::error(Code::CloudInit, at, name, message);
                    f.push(finding.hint("`trusted` alone is supported: Debian's authorities stay"));
                }
            }
            let list = value.get("trusted").and_then(Value::as_array);
            let found = list.into_iter().flatten().enumerate();
            for (index, _) in found.filter(|(_, item)| !item.as_str().is_some_and(is_certificate)) {
                let steps = [Step::Key(key), Step::Key("trusted"), Step::Item(index)];
                let at = self.document.place(&steps);
                let message = "not a certificate in PEM form";
                let finding = Finding::error(Code::CloudInit, at, &"", message);
                f.push(finding.hint(
                    "write `|` and, indented below it, the lines from `-----BEGIN CERTIFICATE-----` to its end",
                ));
            }
        }
    }

    fn timezone(&self, f: &mut Vec<Finding>) {
        let Some(zone) = self.document.value.get("timezone").and_then(Value::as_str) else {
            return;
        };
        if !timezones::is_known(zone) {
            let at = self.document.value_place(&[Step::Key("timezone")]);
            let finding = Finding::error(Code::Host, at, &zone, "not a time zone of the image");
            f.push(finding.hint(timezones::advice(zone)));
        }
    }
}

/// A key that does nothing.
fn unread(key: &str, at: crate::yaml::Position) -> Finding {
    let text = shorten(key);
    let module = MODULES.iter().find(|(_, keys)| keys.contains(&key));
    let Some((module, _)) = module else {
        let known: Vec<&str> = MODULES
            .iter()
            .flat_map(|(_, keys)| *keys)
            .copied()
            .collect();
        let message = format!("cloud-init does not know `{text}`: it does nothing");
        let meant = nearest(key, &known);
        let hint = if meant.starts_with("known here") {
            "cloud-init's keys are in its module reference; commands go under `runcmd`".to_owned()
        } else {
            meant
        };
        return Finding::warning(Code::CloudInit, at, &key, message).hint(hint);
    };
    let message =
        format!("`{text}` does nothing: cloud-init's module `{module}` is off in the image");
    let instead = INSTEAD.iter().find(|(keys, _)| keys.contains(&key));
    let hint = instead.map_or("remove it, or do it by `runcmd`", |(_, hint)| hint);
    Finding::error(Code::CloudInit, at, &key, message).hint(hint)
}

/// The key of a user's entry that holds a password as it is typed.
fn plain_password(user: &Value) -> Option<&'static str> {
    if user.get("plain_text_passwd").is_some() {
        return Some("plain_text_passwd");
    }
    let text = |key: &str| user.get(key).and_then(Value::as_str);
    // In `chpasswd`: a hash only if it says so, and `RANDOM` is shown on the console.
    let hashed = text("type").is_some_and(|kind| kind == "hash");
    if let Some(password) = text("password") {
        return (!hashed || !password.starts_with('$')).then_some("password");
    }
    ["passwd", "hashed_passwd"]
        .into_iter()
        .find(|key| text(key).is_some_and(|hash| !hash.starts_with(['$', '*', '!'])))
}

/// One certificate, by its frame: update-ca-certificates takes one from a file.
fn is_certificate(text: &str) -> bool {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
    const END: &str = "\n-----END CERTIFICATE-----";
    let body = text
        .trim()
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END));
    body.is_some_and(|body| {
        let base64 =
            |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b) || b.is_ascii_whitespace();
        !body.is_empty() && body.bytes().all(base64)
    })
}

/// A package manager that a command calls.
fn package_manager(words: &str) -> Option<&'static str> {
    const PROGRAMS: [&str; 7] = ["apt-get", "apt", "aptitude", "dnf", "yum", "apk", "snap"];
    const VERBS: [&str; 5] = ["install", "update", "upgrade", "add", "dist-upgrade"];
    let split = |c: char| c.is_whitespace() || ";&|()".contains(c);
    let mut last = None;
    for word in words.split(split).filter(|word| !word.is_empty()) {
        if last.is_some() && VERBS.contains(&word) {
            return last;
        }
        let name = word.rsplit('/').next().unwrap_or(word);
        // Options may stand between the two.
        if !word.starts_with('-') {
            last = PROGRAMS.into_iter().find(|program| *program == name);
        }
    }
    None
}
