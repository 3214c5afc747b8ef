//! F02: accounts with fixed numbers.
//!
//! Debian's base-passwd copies two master files, systemd-sysusers and adduser add to them; the numbers that these
//! allocate depend on the order in which packages are configured. In an image they must never change, because files
//! on the state volume carry them: every number that a package leaves open is pinned in the operating system's file, or
//! in the lock (`numbers`).
//!
//! The result was compared with a system installed by scripts: identical but for waived packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::sysusers::{self, Line};
use super::{Cause, Context, Root};

const MASTER: &str = "usr/share/base-passwd";
const SYSUSERS: &str = "usr/lib/sysusers.d";

pub(super) fn apply(root: &mut Root<'_>, context: &Context<'_>) -> Result<(), Cause> {
    if !context.has("base-passwd") {
        return Ok(());
    }
    let mut book = Book::new(context);
    book.masters(
        &root.input("base-passwd", &format!("{MASTER}/passwd.master"))?,
        &root.input("base-passwd", &format!("{MASTER}/group.master"))?,
    )?;
    let files = root.files_in(SYSUSERS, ".conf")?;
    let mut lines = Vec::new();
    for path in &files {
        let parsed = sysusers::parse_file(path, &root.text(path)?)?;
        lines.extend(parsed.into_iter().map(|line| (path.clone(), line)));
    }
    for (package, recipe) in context.recipes() {
        let origin = format!("accounts of {package}");
        let parsed = sysusers::parse_file(&origin, &recipe.accounts.join("\n"))?;
        lines.extend(parsed.into_iter().map(|line| (origin.clone(), line)));
    }
    book.evaluate(&lines)?;
    book.check()?;
    book.write(root, context.epoch)?;
    // Superseded by 00-image-pinned.conf; with both, systemd-sysusers logs a conflict for each account at every boot.
    for path in files.iter().filter(|path| !path.ends_with("/basic.conf")) {
        root.remove(path)?;
    }
    Ok(())
}

struct Book<'a> {
    context: &'a Context<'a>,
    users: Vec<User>,
    groups: Vec<Group>,
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
    gecos: String,
    home: String,
    shell: String,
    made: Made,
}

struct Group {
    name: String,
    gid: u32,
    members: BTreeSet<String>,
    made: Made,
}

/// Where an account comes from; shadow(5) entries differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// base-passwd's master files.
    Master,
    /// sysusers.d.
    System,
    /// sysusers.d, type `u!`.
    Locked,
}

impl<'a> Book<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        Book {
            context,
            users: Vec::new(),
            groups: Vec::new(),
        }
    }

    fn masters(&mut self, passwd: &str, group: &str) -> Result<(), Cause> {
        let wrong = |file: &str, line: usize| Cause::Content {
            path: format!("{MASTER}/{file}"),
            line: Some(line + 1),
            problem: "is no account".into(),
        };
        for (index, line) in passwd
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, gecos, home, shell] = fields[..] else {
                return Err(wrong("passwd.master", index));
            };
            let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else {
                return Err(wrong("passwd.master", index));
            };
            let [name, gecos, home, shell] = [name, gecos, home, shell].map(str::to_owned);
            self.users.push(User {
                name,
                uid,
                gid,
                gecos,
                home,
                shell,
                made: Made::Master,
            });
        }
        for (index, line) in group
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, _] = fields[..] else {
                return Err(wrong("group.master", index));
            };
            let Ok(gid) = gid.parse() else {
                return Err(wrong("group.master", index));
            };
            self.groups.push(Group {
                name: name.into(),
                gid,
                members: BTreeSet::new(),
                made: Made::Master,
            });
        }
        Ok(())
    }

    /// Groups first, then users, then memberships, as systemd-sysusers does.
    fn evaluate(&mut self, lines: &[(String, Line)]) -> Result<(), Cause> {
        for (origin, line) in lines {
            if let Line::Group { name, id } = line
                && self.gid(name).is_none()
            {
                let gid = id.map_or_else(|| self.pinned_group(name, origin), Ok)?;
                self.group(name, gid);
            }
        }
        for (origin, line) in lines {
            if let Line::User { name, .. } = line
                && !self.users.iter().any(|user| user.name == *name)
            {
                self.user(line, origin)?;
            }
        }
        for (origin, line) in lines {
            if let Line::Member { user, group } = line {
                let account = |kind, name: &String| Cause::Account {
                    kind,
                    name: name.clone(),
                    origin: origin.clone(),
                };
                if !self.users.iter().any(|known| known.name == *user) {
                    return Err(account("user", user));
                }
                let known = self.groups.iter_mut().find(|known| known.name == *group);
                known
                    .ok_or_else(|| account("group", group))?
                    .members
                    .insert(user.clone());
            }
        }
        Ok(())
    }

    fn user(&mut self, line: &Line, origin: &str) -> Result<(), Cause> {
        let Line::User {
            name,
            id,
            group,
            gecos,
            home,
            shell,
            locked,
        } = line
        else {
            return Ok(());
        };
        let uid = match id {
            Some(id) => *id,
            None => self.pinned("user", name, &self.context.os.ids.users, origin)?,
        };
        let gid = match group {
            None => match self.gid(name) {
                Some(gid) => gid,
                None => {
                    let gid = self.context.os.ids.groups.get(name).copied().unwrap_or(uid);
                    self.group(name, gid);
                    gid
                }
            },
            Some(group) => match group.parse() {
                Ok(gid) => gid,
                Err(_) => self.gid(group).ok_or_else(|| Cause::Account {
                    kind: "group",
                    name: group.clone(),
                    origin: origin.to_owned(),
                })?,
            },
        };
        let (name, gecos, home, shell) = (name.clone(), gecos.clone(), home.clone(), shell.clone());
        let made = if *locked { Made::Locked } else { Made::System };
        self.users.push(User {
            name,
            uid,
            gid,
            gecos,
            home,
            shell,
            made,
        });
        Ok(())
    }

    fn group(&mut self, name: &str, gid: u32) {
        self.groups.push(Group {
            name: name.to_owned(),
            gid,
            members: BTreeSet::new(),
            made: Made::System,
        });
    }

    fn gid(&self, name: &str) -> Option<u32> {
        self.groups
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid)
    }

    fn pinned_group(&self, name: &str, origin: &str) -> Result<u32, Cause> {
        self.pinned("group", name, &self.context.os.ids.groups, origin)
    }

    fn pinned(
        &self,
        kind: &'static str,
        name: &str,
        pins: &BTreeMap<String, u32>,
        origin: &str,
    ) -> Result<u32, Cause> {
        pins.get(name).copied().ok_or_else(|| Cause::Unpinned {
            kind,
            name: name.to_owned(),
            origin: origin.to_owned(),
        })
    }

    /// Equal numbers would make one account the other.
    fn check(&self) -> Result<(), Cause> {
        let users = self.users.iter().map(|user| ("user", &user.name, user.uid));
        let groups = self
            .groups
            .iter()
            .map(|group| ("group", &group.name, group.gid));
        let mut seen = BTreeMap::new();
        for (kind, name, id) in users.chain(groups) {
            if let Some(one) = seen.insert((kind, id), name) {
                return Err(Cause::Duplicate {
                    kind,
                    one: one.clone(),
                    other: name.clone(),
                    id,
                });
            }
        }
        for user in &self.users {
            if !self.groups.iter().any(|group| group.gid == user.gid) {
                let origin = format!("primary group of {}", user.name);
                return Err(Cause::Account {
                    kind: "group",
                    name: user.gid.to_string(),
                    origin,
                });
            }
        }
        Ok(())
    }

    fn write(&self, root: &mut Root<'_>, epoch: i64) -> Result<(), Cause> {
        let shadow_group = self.gid("shadow").unwrap_or(0);
        root.write("etc/passwd", self.passwd())?;
        root.write("etc/group", self.group_file())?;
        for (path, text) in [
            ("etc/shadow", self.shadow(epoch)),
            ("etc/gshadow", self.gshadow()),
        ] {
            root.write(path, text)?;
            root.access(path, 0o640, 0, shadow_group)?;
        }
        root.write("etc/subuid", "")?;
        root.write("etc/subgid", "")?;
        root.write(&format!("{SYSUSERS}/00-image-pinned.conf"), self.pins())
    }

    fn passwd(&self) -> String {
        self.users.iter().fold(
            String::new(),
            |mut text,
             User {
                 name,
                 uid,
                 gid,
                 gecos,
                 home,
                 shell,
                 ..
             }| {
                let _ = writeln!(text, "{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}");
                text
            },
        )
    }

    fn group_file(&self) -> String {
        self.groups.iter().fold(String::new(), |mut text, group| {
            let _ = writeln!(text, "{}:x:{}:{}", group.name, group.gid, group.members());
            text
        })
    }

    /// shadow(5): no password matches `*`; `!*` is locked as well; day 1 as expiry is 1970-01-02.
    fn shadow(&self, epoch: i64) -> String {
        let day = epoch.div_euclid(86400);
        self.users.iter().fold(String::new(), |mut text, user| {
            let fields = match user.made {
                Made::Master => format!("*:{day}:0:99999:7:::"),
                Made::System => format!("!*:{day}::::::"),
                Made::Locked => format!("!*:{day}:::::1:"),
            };
            let _ = writeln!(text, "{}:{fields}", user.name);
            text
        })
    }

    fn gshadow(&self) -> String {
        self.groups.iter().fold(String::new(), |mut text, group| {
            let password = if group.made == Made::Master {
                "*"
            } else {
                "!*"
            };
            let _ = writeln!(text, "{}:{password}::{}", group.name, group.members());
            text
        })
    }

    /// The same accounts for systemd-sysusers at boot: a node whose `/etc/passwd` was changed keeps its own copy for
    /// ever, and gets the users of a newer image from here.
    fn pins(&self) -> String {
        let mut text =
            "# Made with the image. The numbers are the same in every version.\n".to_owned();
        let user = |name: &str| self.users.iter().any(|user| user.name == name);
        for group in self
            .groups
            .iter()
            .filter(|group| group.made != Made::Master && !user(&group.name))
        {
            let _ = writeln!(text, "g {} {}", group.name, group.gid);
        }
        for user in self.users.iter().filter(|user| user.made != Made::Master) {
            let kind = if user.made == Made::Locked { "u!" } else { "u" };
            // A group of the user's own is made along; only another one is named.
            let own = self.gid(&user.name) == Some(user.gid) && user.gid == user.uid;
            let group = if own {
                String::new()
            } else {
                format!(":{}", user.gid)
            };
            let User {
                name,
                uid,
                gecos,
                home,
                shell,
                ..
            } = user;
            let _ = writeln!(
                text,
                "{kind} {name} {uid}{group} \"{gecos}\" {home} {shell}"
            );
        }
        for group in &self.groups {
            for member in &group.members {
                let _ = writeln!(text, "m {member} {}", group.name);
            }
        }
        text
    }
}

impl Group {
    fn members(&self) -> String {
        self.members
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    const PASSWD: &str =
        "root:*:0:0:root:/root:/bin/bash\ndaemon:*:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n";
    const GROUP: &str = "root:*:0:\ndaemon:*:1:\nshadow:*:42:\nnogroup:*:65534:\n";

    fn root<'a>(bench: &'a Bench, sysusers: &str) -> Root<'a> {
        bench.root(&[
            ("usr/share/base-passwd/passwd.master", PASSWD),
            ("usr/share/base-passwd/group.master", GROUP),
            ("usr/lib/sysusers.d/a.conf", sysusers),
            (
                "usr/lib/sysusers.d/basic.conf",
                "u root 0 - /root\ng shadow 42\n",
            ),
        ])
    }

    #[test]
    fn accounts_get_their_pinned_numbers() {
        let bench = Bench::new(
            "ids: {groups: {kvm: 992, _ssh: 101}, users: {net: 998, sshd: 989}},
             recipes: {ssh: {accounts: ['g _ssh -', 'm net kvm']}, gone: {accounts: ['g nobody-asks -']}}",
        )
        .package("base-passwd")
        .package("ssh");
        let mut root = root(
            &bench,
            "u! net - \"Net work\"\nu sshd -:nogroup - /run/sshd\ng kvm -\n",
        );
        apply(&mut root, &bench.context()).unwrap();
        assert_eq!(
            root.text("etc/passwd").unwrap(),
            "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
             net:x:998:998:Net work:/:/usr/sbin/nologin\nsshd:x:989:65534::/run/sshd:/usr/sbin/nologin\n"
        );
        assert_eq!(
            root.text("etc/group").unwrap(),
            "root:x:0:\ndaemon:x:1:\nshadow:x:42:\nnogroup:x:65534:\nkvm:x:992:net\n_ssh:x:101:\nnet:x:998:\n"
        );
        assert_eq!(
            root.text("etc/shadow").unwrap(),
            "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\nnet:!*:20000:::::1:\nsshd:!*:20000::::::\n"
        );
        assert_eq!(
            root.text("usr/lib/sysusers.d/00-image-pinned.conf")
                .unwrap(),
            "# Made with the image. The numbers are the same in every version.\ng kvm 992\ng _ssh 101\n\
             u! net 998 \"Net work\" / /usr/sbin/nologin\nu sshd 989:65534 \"\" /run/sshd /usr/sbin/nologin\nm net kvm\n"
        );
        let shadow = root.tree().entry("etc/shadow").unwrap();
        assert_eq!((shadow.mode, shadow.uid, shadow.gid), (0o640, 0, 42));
        assert!(
            !root.has("usr/lib/sysusers.d/a.conf") && root.has("usr/lib/sysusers.d/basic.conf")
        );
    }

    #[test]
    fn a_number_left_open_is_an_error_that_says_who_gives_one() {
        let bench = Bench::new("ids: {groups: {kvm: 999}}").package("base-passwd");
        let cause = apply(
            &mut root(&bench, "g kvm -\ng newcomer -\n"),
            &bench.context(),
        )
        .unwrap_err();
        assert_eq!(
            cause.to_string(),
            "system group `newcomer` (usr/lib/sysusers.d/a.conf) has no fixed number"
        );
        assert_eq!(
            super::super::Error {
                rule: "users",
                cause
            }
            .hint()
            .unwrap(),
            "run `prejoin lock`: it gives one, and records it"
        );
    }

    #[test]
    fn numbers_are_used_once() {
        let bench = Bench::new("ids: {groups: {kvm: 42}, users: {a: 1}}").package("base-passwd");
        for (line, kind) in [("g kvm -", "group"), ("u a -:nogroup", "user")] {
            match apply(&mut root(&bench, line), &bench.context()) {
                Err(Cause::Duplicate { kind: found, .. }) => assert_eq!(found, kind),
                other => panic!("{other:?}"),
            }
        }
        let lost = apply(&mut root(&bench, "u b 7:77"), &bench.context());
        assert!(
            matches!(lost, Err(Cause::Account { kind: "group", .. })),
            "{lost:?}"
        );
    }
}
