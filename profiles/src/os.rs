//! Operating systems: where packages come from, which are wanted, and what is done with their payload.
//!
//! Maintainer scripts never run, so everything that they would have done, and everything that a read-only root needs
//! beyond that, is either a rule of the image builder or data here: a [`Recipe`] per package and one for the node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layout::{Filesystem, Layout};
use crate::yaml;

/// The operating systems that are part of the program: name and YAML text.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("debian-13", include_str!("../os/debian-13.yaml")),
    ("raspios-13", include_str!("../os/raspios-13.yaml")),
];

/// Longest chain of `inherits`: far more than anyone needs, and the end of every loop.
const GENERATIONS: usize = 8;

/// An operating system, one file under `os/`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Os {
    /// Name in the cluster file, equal to the file's name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The operating system that this one only adds to: lists append, maps override key by key.
    #[serde(default)]
    pub inherits: Option<String>,
    /// Package repositories by short name (`main`, `security`, `backports`).
    #[serde(default)]
    pub repositories: BTreeMap<String, Repository>,
    /// Packages wanted on every node.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Dependencies left out, by package name, and why nothing on the node misses them.
    #[serde(default)]
    pub waive: BTreeMap<String, String>,
    /// Dependencies left out where only the operating system's own packages have them, by package name, and why those
    /// do not miss them. What a package needs that was asked for beyond them is there.
    #[serde(default)]
    pub waive_own: BTreeMap<String, String>,
    /// Glob patterns of payload paths that are not unpacked (`usr/share/lintian/**`).
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Glob patterns of payload paths that only packages asked for by name have (`usr/share/man/**`).
    #[serde(default)]
    pub exclude_unasked: Vec<String>,
    /// Glob patterns of payload paths that are of use only where a package is there that reads them, by its name; a
    /// package asked for by name has them in any case.
    #[serde(default)]
    pub exclude_without: BTreeMap<String, Vec<String>>,
    /// Glob patterns of payload paths that are kept though `exclude` matches (`usr/share/doc/*/copyright`).
    #[serde(default)]
    pub keep: Vec<String>,
    /// Packages that nobody gets who asks for them, by name, and why.
    #[serde(default)]
    pub refuse: BTreeMap<String, String>,
    /// Kernel modules (names) that Kubernetes networking and storage need, by who needs them; checked against the
    /// kernel packed.
    #[serde(default)]
    pub required_modules: BTreeMap<String, Vec<String>>,
    /// Programs (paths without a leading slash) that must be in the image, by who needs them; checked against the
    /// finished tree.
    #[serde(default)]
    pub required_programs: BTreeMap<String, Vec<String>>,
    /// What a node needs to make, check and mount the file systems of its layout.
    #[serde(default)]
    pub filesystems: BTreeMap<Filesystem, Needs>,
    /// Directories below `kernel/` whose modules are left out, and why no node misses them. A module there that a
    /// kept one depends on stays.
    #[serde(default)]
    pub pruned_modules: BTreeMap<String, String>,
    /// What `{name}` stands for in the texts of `files`, unless the Kubernetes distribution has it otherwise.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// Numbers of system users and groups that packages leave to chance. Never change one: files on the state
    /// volume of running nodes carry them.
    #[serde(default)]
    pub ids: Ids,
    /// Stages of cloud-init and the modules run in each (`cloud_init_modules` …), replacing the lists shipped.
    #[serde(default)]
    pub cloud_init: BTreeMap<String, Vec<String>>,
    /// What is done when a package is there, by package name.
    #[serde(default)]
    pub recipes: BTreeMap<String, Recipe>,
    /// What is done on every node.
    #[serde(default)]
    pub node: Recipe,
    /// Packages asked for by name, beyond what the operating system and the board have: they are unpacked whole, and
    /// their units are enabled. Nothing that a file says.
    #[serde(skip)]
    pub asked: BTreeSet<String>,
}

/// One suite of a Debian package archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Which archive it is: the mirror's address is looked up under this name (`debian`, `debian-security`,
    /// `raspberrypi`), because mirrors differ from user to user and suites do not.
    pub archive: String,
    /// Suite or code name below `dists/`.
    pub suite: String,
    /// Components used.
    pub components: Vec<String>,
    /// Full fingerprints of the OpenPGP keys that may sign the release; the keys themselves are files under `keys/`.
    pub keys: Vec<String>,
    /// apt's pin priority: 500 is the default, 100 is taken only when asked for by name (apt_preferences(5)).
    #[serde(default = "default_priority")]
    pub priority: i32,
}

/// What a layout needs of the operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Packages that are wanted then.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Kernel modules that must be there.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Programs that must be in the image.
    #[serde(default)]
    pub programs: Vec<String>,
}

fn default_priority() -> i32 {
    500
}

/// Numbers of system users and groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// Group ids by group name.
    #[serde(default)]
    pub groups: BTreeMap<String, u32>,
    /// User ids by user name. A group of the same name gets the same number unless `groups` says otherwise.
    #[serde(default)]
    pub users: BTreeMap<String, u32>,
}

/// What is done with the tree for one package, or for every node. Paths have no leading slash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Symbolic links to make: path -> target. Alternatives are such links, without `/etc/alternatives`. A target
    /// that is not absolute must exist unless it leads into `run`, `proc` or another place that is not in the image.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Alternatives that its hand-written script registers; generated ones are known from the script.
    #[serde(default)]
    pub alternatives: Vec<Alternative>,
    /// Files to copy: new path -> path in the payload. What ucf and debconf would have put into place.
    #[serde(default)]
    pub copies: BTreeMap<String, String>,
    /// Files to write: path -> text.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Directories to make, and their access.
    #[serde(default)]
    pub directories: BTreeMap<String, Access>,
    /// Access of paths that exist.
    #[serde(default)]
    pub access: BTreeMap<String, Access>,
    /// Paths to remove, directories with all below them; `*` stands for any part of one path component. Each must
    /// match something.
    #[serde(default)]
    pub remove: Vec<String>,
    /// systemd units to enable (their `[Install]` section is evaluated).
    #[serde(default)]
    pub enable: Vec<String>,
    /// Units that stay off though the package was asked for and its script enables them.
    #[serde(default)]
    pub leave_off: Vec<String>,
    /// systemd units to mask.
    #[serde(default)]
    pub mask: Vec<String>,
    /// Users and groups that maintainer scripts would have added, as sysusers.d(5) lines.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Directories and files of the state volume, as tmpfiles.d(5) lines.
    #[serde(default)]
    pub state: Vec<String>,
}

/// Permission bits and, if they are not root's, owner and group: `0755`, `2755 root:_ssh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Access {
    /// Permission bits, `0o7777` mask.
    pub mode: u16,
    /// Owner and group by name; root's when absent.
    pub owner: Option<(String, String)>,
}

/// One of several programs for one name, as update-alternatives(1) has it: `40 usr/bin/editor usr/bin/nano` are its
/// priority, the name and the program. The highest priority gets the name, as a plain link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Alternative {
    /// The higher, the better.
    pub priority: i32,
    /// Path of the link.
    pub link: String,
    /// Path that it leads to.
    pub target: String,
}

/// Why an operating system cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No file of that name.
    #[error("there is no operating system `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("reading operating system `{name}`, line {}", cause.position.line)]
    Yaml {
        /// The name asked for.
        name: String,
        /// What is wrong with it.
        #[source]
        cause: yaml::Error,
    },
    /// The file says it is another one.
    #[error("the operating system file `{name}` calls itself `{inside}`")]
    Name {
        /// The name asked for.
        name: String,
        /// The name inside.
        inside: String,
    },
    /// `inherits` goes in a circle, or far too deep.
    #[error("operating system `{name}` inherits more than {GENERATIONS} times, or from itself")]
    Generations {
        /// The name asked for.
        name: String,
    },
}

impl Ids {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.users.is_empty()
    }

    /// Adds numbers; of a name that both have, `later` says which.
    pub fn extend(&mut self, later: Ids) {
        self.groups.extend(later.groups);
        self.users.extend(later.users);
    }
}

impl Os {
    /// One of the operating systems that are part of the program, with what it inherits.
    pub fn built_in(name: &str) -> Result<Os, Error> {
        Os::load(name, |name| {
            BUILT_IN
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, text)| (*text).to_owned())
        })
    }

    /// Names of the archives that its packages come from.
    pub fn archives(&self) -> BTreeSet<String> {
        self.repositories
            .values()
            .map(|repository| repository.archive.clone())
            .collect()
    }

    /// Makes kernel modules and programs part of what the image is checked for, by the name of who needs them.
    pub fn require(&mut self, who: &str, modules: &[String], programs: &[String]) {
        for (list, needed) in [
            (&mut self.required_modules, modules),
            (&mut self.required_programs, programs),
        ] {
            if !needed.is_empty() {
                list.insert(who.to_owned(), needed.to_vec());
            }
        }
    }

    /// Makes what the file systems of a layout need part of what the image is checked for, and returns the packages
    /// that bring it.
    ///
    /// # Errors
    /// A file system that this operating system cannot make.
    pub fn provide(&mut self, layout: &Layout) -> Result<Vec<String>, Filesystem> {
        let mut packages = Vec::new();
        for filesystem in layout.filesystems() {
            let needs = self.filesystems.get(&filesystem).cloned();
            let needs = needs.ok_or(filesystem)?;
            self.require(
                &format!("file system {filesystem}"),
                &needs.modules,
                &needs.programs,
            );
            packages.extend(needs.packages);
        }
        Ok(packages)
    }

    /// Puts the versions in where the texts of `files` name them.
    pub(crate) fn fill_versions(&mut self) {
        let recipes = self.recipes.values_mut().chain([&mut self.node]);
        for text in recipes.flat_map(|recipe| recipe.files.values_mut()) {
            for (name, version) in &self.versions {
                *text = text.replace(&format!("{{{name}}}"), version);
            }
        }
    }

    /// The operating system `name` with everything that it inherits, from texts that `find` looks up by name.
    pub fn load(name: &str, find: impl Fn(&str) -> Option<String>) -> Result<Os, Error> {
        let read = |name: &str| -> Result<Os, Error> {
            let text = find(name).ok_or_else(|| Error::Unknown {
                name: name.to_owned(),
            })?;
            let os: Os = yaml::parse(&text).map_err(|cause| Error::Yaml {
                name: name.to_owned(),
                cause,
            })?;
            if os.name == name {
                Ok(os)
            } else {
                Err(Error::Name {
                    name: name.to_owned(),
                    inside: os.name,
                })
            }
        };
        let mut os = read(name)?;
        for _ in 0..GENERATIONS {
            match os.inherits.take() {
                None => return Ok(os),
                Some(parent) => os = os.over(read(&parent)?),
            }
        }
        Err(Error::Generations {
            name: name.to_owned(),
        })
    }

    /// This operating system laid over the one that it inherits from: the parent's list items come first, entries of
    /// maps that both have are this one's.
    #[must_use]
    pub fn over(self, parent: Os) -> Os {
        let mut recipes = parent.recipes;
        for (package, recipe) in self.recipes {
            let below = recipes.remove(&package).unwrap_or_default();
            recipes.insert(package, recipe.over(below));
        }
        Os {
            name: self.name,
            description: self.description,
            inherits: parent.inherits,
            repositories: override_keys(parent.repositories, self.repositories),
            packages: append(parent.packages, self.packages),
            waive: override_keys(parent.waive, self.waive),
            waive_own: override_keys(parent.waive_own, self.waive_own),
            exclude: append(parent.exclude, self.exclude),
            exclude_unasked: append(parent.exclude_unasked, self.exclude_unasked),
            exclude_without: override_keys(parent.exclude_without, self.exclude_without),
            keep: append(parent.keep, self.keep),
            refuse: override_keys(parent.refuse, self.refuse),
            required_modules: override_keys(parent.required_modules, self.required_modules),
            required_programs: override_keys(parent.required_programs, self.required_programs),
            filesystems: override_keys(parent.filesystems, self.filesystems),
            pruned_modules: override_keys(parent.pruned_modules, self.pruned_modules),
            versions: override_keys(parent.versions, self.versions),
            ids: Ids {
                groups: override_keys(parent.ids.groups, self.ids.groups),
                users: override_keys(parent.ids.users, self.ids.users),
            },
            cloud_init: override_keys(parent.cloud_init, self.cloud_init),
            recipes,
            node: self.node.over(parent.node),
            asked: self.asked.union(&parent.asked).cloned().collect(),
        }
    }
}

impl Recipe {
    /// This recipe laid over another, as [`Os::over`].
    #[must_use]
    pub fn over(self, parent: Recipe) -> Recipe {
        Recipe {
            links: override_keys(parent.links, self.links),
            alternatives: append(parent.alternatives, self.alternatives),
            copies: override_keys(parent.copies, self.copies),
            files: override_keys(parent.files, self.files),
            directories: override_keys(parent.directories, self.directories),
            access: override_keys(parent.access, self.access),
            remove: append(parent.remove, self.remove),
            enable: append(parent.enable, self.enable),
            leave_off: append(parent.leave_off, self.leave_off),
            mask: append(parent.mask, self.mask),
            accounts: append(parent.accounts, self.accounts),
            state: append(parent.state, self.state),
        }
    }
}

/// The parent's items, then the child's that are new.
fn append<T: PartialEq>(mut parent: Vec<T>, child: Vec<T>) -> Vec<T> {
    for item in child {
        if !parent.contains(&item) {
            parent.push(item);
        }
    }
    parent
}

fn override_keys<K: Ord, V>(mut parent: BTreeMap<K, V>, child: BTreeMap<K, V>) -> BTreeMap<K, V> {
    parent.extend(child);
    parent
}

impl TryFrom<String> for Alternative {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [priority, link, target] = words[..] else {
            return Err(format!("`{text}` is not a priority and two paths"));
        };
        let priority = priority
            .parse()
            .map_err(|_| format!("`{priority}` is no priority"))?;
        let [link, target] = [link, target].map(|path| path.trim_start_matches('/').to_owned());
        Ok(Alternative {
            priority,
            link,
            target,
        })
    }
}

impl From<Alternative> for String {
    fn from(alternative: Alternative) -> String {
        let Alternative {
            priority,
            link,
            target,
        } = alternative;
        format!("{priority} {link} {target}")
    }
}

impl FromStr for Access {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let octal = words
            .next()
            .filter(|word| word.bytes().all(|b| matches!(b, b'0'..=b'7')));
        let mode = octal
            .and_then(|word| u16::from_str_radix(word, 8).ok())
            .filter(|mode| *mode <= 0o7777);
        let owner = match words.next().map(|word| word.split_once(':')) {
            None => Some(None),
            Some(Some((user, group))) if !user.is_empty() && !group.is_empty() => {
                Some(Some((user.to_owned(), group.to_owned())))
            }
            Some(_) => None,
        };
        match (mode, owner, words.next()) {
            (Some(mode), Some(owner), None) => Ok(Access { mode, owner }),
            _ => Err(format!(
                "`{text}` is no access such as \"0755\" or \"2755 root:_ssh\""
            )),
        }
    }
}

impl TryFrom<String> for Access {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Access> for String {
    fn from(access: Access) -> String {
        access.to_string()
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.mode)?;
        match &self.owner {
            Some((user, group)) => write!(f, " {user}:{group}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(text: &str) -> Os {
        yaml::parse(text).unwrap()
    }

    #[test]
    fn built_in_files_are_whole() {
        for (name, _) in BUILT_IN {
            let os = Os::built_in(name).unwrap();
            assert_eq!(os.name, name);
            assert!(os.packages.contains(&"systemd".to_owned()), "{name}");
            for (short, repository) in &os.repositories {
                for key in &repository.keys {
                    assert!(
                        key.len() == 40 && key.bytes().all(|b| b.is_ascii_hexdigit()),
                        "{short}: {key}"
                    );
                }
            }
            for package in &os.packages {
                assert!(
                    !os.waive.contains_key(package) && !os.waive_own.contains_key(package),
                    "{package} is both wanted and waived"
                );
            }
        }
    }

    #[test]
    fn raspios_is_debian_and_one_archive_more() {
        let (debian, raspios) = (
            Os::built_in("debian-13").unwrap(),
            Os::built_in("raspios-13").unwrap(),
        );
        assert!(raspios.repositories.contains_key("raspberrypi"));
        for short in debian.repositories.keys() {
            assert_eq!(raspios.repositories[short], debian.repositories[short]);
        }
        assert_eq!(raspios.packages[..debian.packages.len()], debian.packages);
        assert_eq!(raspios.ids, debian.ids);
    }

    #[test]
    fn a_layouts_file_systems_bring_what_they_need() {
        let layout = |filesystem: &str| {
            let text = format!(
                "{{name: x, description: x, partitions: [{{name: data, purpose: data, min_size: 1 GiB,
                filesystem: {filesystem}}}]}}"
            );
            yaml::parse::<Layout>(&text).unwrap()
        };
        let mut debian = Os::built_in("debian-13").unwrap();
        let packages = debian.provide(&layout("xfs")).unwrap();
        assert_eq!(packages, ["xfsprogs"]);
        assert_eq!(
            debian.required_programs["file system xfs"],
            ["usr/sbin/mkfs.xfs"]
        );
        assert_eq!(debian.required_modules["file system xfs"], ["xfs"]);
        // What every node has for its state.
        let packages = debian.provide(&layout("ext4")).unwrap();
        assert!(
            packages.iter().all(|name| debian.packages.contains(name)),
            "{packages:?}"
        );
        let mut bare = os("{name: a, description: A}");
        assert_eq!(bare.provide(&layout("xfs")), Err(Filesystem::Xfs));
    }

    #[test]
    fn pinned_numbers_are_unique_and_below_the_users() {
        let ids = Os::built_in("debian-13").unwrap().ids;
        for numbers in [ids.users, ids.groups] {
            let mut seen: Vec<u32> = numbers.values().copied().collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), numbers.len());
            assert!(seen.iter().all(|id| (100..1000).contains(id)), "{seen:?}");
        }
    }

    /// The interfaces that one of the files for network plugins is about.
    fn plugins<'a>(file: &'a str, key: &str) -> Vec<&'a str> {
        let lists = file.lines().filter_map(|line| line.strip_prefix(key));
        lists.flat_map(str::split_whitespace).collect()
    }

    #[test]
    fn network_plugins_have_their_interfaces_for_themselves() {
        let debian = Os::built_in("debian-13").unwrap();
        let files = &debian.recipes["systemd"].files;
        let network = &files["usr/lib/systemd/network/00-image-network-plugins.network"];
        let link = &files["usr/lib/systemd/network/00-image-network-plugins.link"];
        let unmanaged = plugins(network, "Name=");
        assert_eq!(
            unmanaged,
            plugins(link, "OriginalName="),
            "one list for both"
        );
        assert!(network.ends_with("[Link]\nUnmanaged=yes\n"));
        assert!(link.ends_with("[Link]\nMACAddressPolicy=none\n"));
        for name in [
            "cilium_*", "lxc*", "cali*", "veth*", "flannel*", "cni*", "kube-*",
        ] {
            assert!(unmanaged.contains(&name), "{name}");
        }
        let daemon = &files["usr/lib/systemd/networkd.conf.d/10-image.conf"];
        for kind in ["Routes", "RoutingPolicyRules", "NextHops"] {
            assert!(
                daemon.contains(&format!("ManageForeign{kind}=no\n")),
                "{kind}"
            );
        }
    }

    #[test]
    fn lists_append_and_maps_override() {
        let parent = os(
            "{name: a, description: A, packages: [x, y], waive: {p: old, q: old},
            recipes: {x: {enable: [one.service], files: {f: old, g: old}}}}",
        );
        let child = os(
            "{name: b, description: B, inherits: a, packages: [y, z], waive: {p: new},
            recipes: {x: {enable: [two.service], files: {f: new}}, w: {mask: [m.service]}}}",
        );
        let merged = child.over(parent);
        assert_eq!((merged.name.as_str(), merged.inherits), ("b", None));
        assert_eq!(merged.packages, ["x", "y", "z"]);
        assert_eq!(
            (merged.waive["p"].as_str(), merged.waive["q"].as_str()),
            ("new", "old")
        );
        assert_eq!(merged.recipes["x"].enable, ["one.service", "two.service"]);
        assert_eq!(
            (
                merged.recipes["x"].files["f"].as_str(),
                merged.recipes["x"].files["g"].as_str()
            ),
            ("new", "old")
        );
        assert_eq!(merged.recipes["w"].mask, ["m.service"]);
    }

    #[test]
    fn inheritance_ends() {
        let circle = |name: &str| {
            Some(format!(
                "{{name: {name}, description: x, inherits: {name}}}"
            ))
        };
        assert_eq!(
            Os::load("a", circle),
            Err(Error::Generations { name: "a".into() })
        );
        assert_eq!(
            Os::load("a", |_| None),
            Err(Error::Unknown { name: "a".into() })
        );
        let other = |_: &str| Some("{name: b, description: x}".to_owned());
        assert_eq!(
            Os::load("a", other),
            Err(Error::Name {
                name: "a".into(),
                inside: "b".into()
            })
        );
        assert!(matches!(
            Os::load("a", |_| Some("name: [".into())),
            Err(Error::Yaml { .. })
        ));
    }

    #[test]
    fn access_is_a_mode_and_an_owner() {
        let access: Access = "2755 root:_ssh".parse().unwrap();
        assert_eq!(
            (access.mode, access.owner.clone()),
            (0o2755, Some(("root".into(), "_ssh".into())))
        );
        assert_eq!(access.to_string(), "2755 root:_ssh");
        assert_eq!("755".parse::<Access>().unwrap().to_string(), "0755");
        for wrong in [
            "",
            "0888",
            "10000",
            "+755",
            "0755 root",
            "0755 root:",
            "0755 a:b c",
        ] {
            assert!(wrong.parse::<Access>().is_err(), "{wrong}");
        }
    }
}
