//! Why a fix-up cannot be made.

use prejoin_wire::size::amount;

/// A fix-up that failed.
#[derive(Debug, thiserror::Error)]
#[error("applying fix-up `{rule}`")]
pub struct Error {
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong.
    #[source]
    pub cause: Cause,
}

/// What is wrong with a tree, or with the data that says what to do with it.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A package is there, a file that it always had is not.
    #[error("package `{package}` is unpacked but has no `{path}`")]
    Input {
        /// The package, or `node`.
        package: String,
        /// The path or pattern.
        path: String,
    },
    /// Nothing is at a path.
    #[error("there is no `{path}`")]
    Missing {
        /// The path.
        path: String,
    },
    /// A path leads through more links than the kernel follows, or through something that is no directory.
    #[error("`{path}` cannot be resolved inside the tree")]
    Unresolvable {
        /// The path.
        path: String,
    },
    /// A path in the operating system's file is absolute, empty, or has `.` or `..` in it.
    #[error("`{path}` is no path relative to the root")]
    Path {
        /// The path.
        path: String,
    },
    /// A file is not what a rule can work on.
    #[error("`{path}`{}: {problem}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Content {
        /// The file.
        path: String,
        /// Line, from 1.
        line: Option<usize>,
        /// What is wrong.
        problem: String,
    },
    /// A file is larger than a rule reads.
    #[error("`{path}` has {}; a fix-up reads at most {}", amount(*.size), amount(*.limit))]
    Large {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A file's bytes cannot be read from the store.
    #[error("reading `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A system user or group has no number.
    #[error("system {kind} `{name}` ({origin}) has no fixed number")]
    Unpinned {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where it is asked for.
        origin: String,
    },
    /// Two accounts have the same number.
    #[error("{kind}s `{one}` and `{other}` have the same number {id}")]
    Duplicate {
        /// `user` or `group`.
        kind: &'static str,
        /// One of them.
        one: String,
        /// The other.
        other: String,
        /// The number.
        id: u32,
    },
    /// An account is used that nobody makes.
    #[error("there is no {kind} `{name}` ({origin})")]
    Account {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name or number.
        name: String,
        /// Where it is used.
        origin: String,
    },
    /// A unit to enable does not exist, or cannot be enabled.
    #[error("unit `{unit}` ({origin}) {problem}")]
    Unit {
        /// The unit.
        unit: String,
        /// Who wants it: a package, or `node`.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// Kernel modules that are needed are not in the kernel.
    #[error("kernel {kernel} has no module {} ({feature})", modules.join(", "))]
    Modules {
        /// The kernel's version.
        kernel: String,
        /// What needs them.
        feature: String,
        /// Their names.
        modules: Vec<String>,
    },
    /// Programs that are needed are not in the image.
    #[error("the image has no program {} ({feature})", programs.join(", "))]
    Programs {
        /// What needs them.
        feature: String,
        /// Their paths.
        programs: Vec<String>,
    },
    /// Links that lead nowhere: path and target, at most ten.
    #[error("{count} links lead nowhere: {}", some.join(", "))]
    Dangling {
        /// How many there are.
        count: usize,
        /// The first ten, as `path -> target`.
        some: Vec<String>,
    },
    /// Something that must be unique to a node would be the same on all.
    #[error("`{path}` belongs to one node and would be on all")]
    Identity {
        /// The path.
        path: String,
    },
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match &self.cause {
            Cause::Unpinned { .. } => {
                Some("run `prejoin lock`: it gives one, and records it".to_owned())
            }
            Cause::Input { package, .. } if package != "node" => Some(format!(
                "`{package}` changed; adapt its recipe in the operating system's file, or pin its version"
            )),
            Cause::Modules { .. } => Some(
                "choose another kernel package, or take what needs them out of `required_modules`"
                    .into(),
            ),
            Cause::Programs { .. } => Some(
                "is it excluded or removed, or in a package that is not wanted? See `required_programs`, `filesystems` \
                 and the sets"
                    .into(),
            ),
            Cause::Dangling { .. } => {
                Some("is the target of a link excluded or removed? Remove the link too".into())
            }
            _ => None,
        }
    }
}
