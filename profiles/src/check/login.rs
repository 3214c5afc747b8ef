//! Whether somebody can get into the nodes, and become root there.

use serde_json::Value;

use super::place;
use crate::catalog::Catalog;
use crate::cluster::{Cluster, PLACEHOLDER_KEY, User};
use crate::finding::{Code, Finding};

/// Shells that every image has, by the names of merged-usr's two folders.
const SHELLS: [&str; 5] = ["bash", "dash", "rbash", "sh", "nologin"];

/// Shells of Debian's packages: the name of the program, and the package.
const PACKAGED: [(&str, &str); 14] = [
    ("ash", "ash"),
    ("csh", "csh"),
    ("elvish", "elvish"),
    ("fish", "fish"),
    ("ksh", "ksh93u+m"),
    ("ksh93", "ksh93u+m"),
    ("lksh", "mksh"),
    ("mksh", "mksh"),
    ("posh", "posh"),
    ("rc", "rc"),
    ("tcsh", "tcsh"),
    ("xonsh", "xonsh"),
    ("yash", "yash"),
    ("zsh", "zsh"),
];

pub(super) fn check(cluster: &Cluster, catalog: &Catalog, f: &mut Vec<Finding>) {
    nobody(cluster, f);
    for user in &cluster.users {
        keys(user, f);
        shell(user, cluster, catalog, f);
    }
}

/// Keys of root or of people may come with cloud-init, too.
fn has_own_people(cluster: &Cluster) -> bool {
    let own = cluster.nodes.iter().map(|node| &node.cloud_init);
    let mut all = own.chain([&cluster.cloud_init]).flatten();
    all.any(|document| {
        ["users", "user", "ssh_authorized_keys"].iter().any(|key| {
            document
                .value
                .get(key)
                .is_some_and(|value| *value != Value::Null)
        })
    })
}

fn nobody(cluster: &Cluster, f: &mut Vec<Finding>) {
    if has_own_people(cluster) {
        return;
    }
    let Some(first) = cluster.users.first() else {
        let message = "nobody can log in to the nodes: the cluster has no `users`";
        let name = &cluster.name;
        let finding = Finding::warning(Code::Login, name.position, name, message);
        f.push(finding.hint(
            "add `users: [{ name: you, sudo: true, ssh_keys: [\"…\"] }]` with the line of your `~/.ssh/*.pub`",
        ));
        return;
    };
    if !cluster.users.iter().any(becomes_root) {
        let message = "no user can become root, and the cluster's own credentials are root's";
        let finding = Finding::warning(Code::Login, first.name.position, &first.name, message);
        f.push(finding.hint("give one of them `sudo: true`, and a key"));
    }
}

/// Debian's sudo lets its own group become root, with a password.
fn becomes_root(user: &User) -> bool {
    let group = user.groups.iter().any(|group| group.value == "sudo");
    let password = user.password_hash.is_some();
    let enters = !user.keys.is_empty() || password;
    enters && (user.sudo || group && password)
}

/// The examples' key opens the nodes to whoever has its other half.
fn keys(user: &User, f: &mut Vec<Finding>) {
    for key in user.keys.iter().filter(|key| key.data == PLACEHOLDER_KEY) {
        let message = format!(
            "the key of user `{}` is the one of prejoin's examples, not yours",
            user.name.value
        );
        let finding = Finding::error(Code::Key, key.position, key, message);
        f.push(finding.hint(
            "put the line of your own `~/.ssh/*.pub` here; `ssh-keygen -t ed25519` makes one",
        ));
    }
}

fn shell(user: &User, cluster: &Cluster, catalog: &Catalog, f: &mut Vec<Finding>) {
    let path = user.shell.as_str();
    let at = place(&user.shell, &user.name);
    let error = |message: String| Finding::error(Code::Login, at, &user.shell, message);
    let Some(name) = system_program(path) else {
        let brought =
            |files: &[crate::cluster::File]| files.iter().any(|file| file.path.value == path);
        let everywhere = cluster.nodes.iter().all(|node| brought(&node.files));
        if !brought(&cluster.files) && !everywhere {
            let message = format!("nothing puts the shell `{path}` on the nodes");
            f.push(error(message).hint("use /bin/bash, or bring it by `files:`"));
        }
        return;
    };
    if SHELLS.contains(&name) {
        return;
    }
    let packages = packages_everywhere(cluster, catalog);
    match PACKAGED.iter().find(|(program, _)| *program == name) {
        Some((_, package)) if !packages.iter().any(|known| known == package) => {
            let message = format!("no package brings the shell `{path}` to every node");
            let hint = format!("add `packages: [{package}]`, or use /bin/bash");
            f.push(error(message).hint(hint));
        }
        Some(_) => {}
        // The build looks whether it is there.
        None if packages.is_empty() => {
            let message = format!("no package brings the shell `{path}`");
            f.push(error(message).hint("use /bin/bash, or add its package"));
        }
        None => {}
    }
}

/// The name of a program in the image's folders of programs.
fn system_program(path: &str) -> Option<&str> {
    ["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"]
        .iter()
        .find_map(|folder| path.strip_prefix(folder))
        .filter(|name| !name.contains('/'))
}

/// What is asked for by name on all nodes, beside the base.
fn packages_everywhere(cluster: &Cluster, catalog: &Catalog) -> Vec<String> {
    let mut packages: Vec<String> = cluster
        .packages
        .iter()
        .map(|package| package.value.clone())
        .collect();
    let sets = cluster.sets.iter().filter_map(|set| catalog.set(set).ok());
    packages.extend(sets.flat_map(|set| set.packages));
    if let Some((first, rest)) = cluster.nodes.split_first() {
        let on_all = first.packages.iter().filter(|package| {
            rest.iter().all(|node| {
                node.packages
                    .iter()
                    .any(|other| other.value == package.value)
            })
        });
        packages.extend(on_all.map(|package| package.value.clone()));
    }
    packages
}
