//! The profiles that can be named in a cluster file: those in the program, and the user's own beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use crate::board::{self, Board};
use crate::distribution::{self, Definition};
use crate::kernel_args;
use crate::layout::{self, Layout};
use crate::os::{self, Os};
use crate::set::{self, Set};
use crate::yaml::{self, Position};

/// What a profile describes; also the folder its file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `boards/`
    Board,
    /// `os/`
    Os,
    /// `layouts/`
    Layout,
    /// `sets/`
    Set,
}

/// Profiles by kind and name, read when they are asked for.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    sources: BTreeMap<(Kind, String), Source>,
}

#[derive(Clone, Debug)]
struct Source {
    file: String,
    text: String,
}

/// Why a profile cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No file of that name.
    #[error("there is no {} `{name}`", kind.word())]
    Unknown {
        /// What was looked for.
        kind: Kind,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The file cannot be read as what it should be.
    #[error("{file}:{}: {}", problem.position, problem.message)]
    File {
        /// Its path, as the user knows it.
        file: String,
        /// What is wrong with it.
        problem: yaml::Error,
    },
    /// A user's file has the name of one that is there already.
    #[error("{file}: {} `{name}` is there already", kind.word())]
    Exists {
        /// The file's path.
        file: String,
        /// What it describes.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

/// The data files that are part of the program. A test compares the list with the folders.
macro_rules! embedded {
    ($($kind:ident $folder:literal: $($name:literal)*;)*) => {
        &[$($((Kind::$kind, $name, include_str!(concat!("../", $folder, "/", $name, ".yaml"))),)*)*]
    };
}

const EMBEDDED: &[(Kind, &str, &str)] = embedded! {
    Board "boards": "uefi" "uefi-amd64" "uefi-arm64" "raspberry-pi" "rpi4" "rpi5";
    Layout "layouts": "single" "longhorn" "ceph";
    Set "sets": "longhorn" "ceph" "keepalived" "nfs";
};

/// The example clusters by name.
pub const CLUSTERS: &[(&str, &str)] = &[
    ("demo", include_str!("../clusters/demo.yaml")),
    (
        "pi5-kubeadm-longhorn",
        include_str!("../clusters/pi5-kubeadm-longhorn.yaml"),
    ),
    ("pi5-k3s", include_str!("../clusters/pi5-k3s.yaml")),
    (
        "minipc-ha-ceph",
        include_str!("../clusters/minipc-ha-ceph.yaml"),
    ),
    ("pi4-k3s-ha", include_str!("../clusters/pi4-k3s-ha.yaml")),
    (
        "minipc-windows",
        include_str!("../clusters/minipc-windows.yaml"),
    ),
];

impl Catalog {
    /// What is part of the program.
    pub fn embedded() -> Self {
        let profiles = EMBEDDED.iter().copied();
        let systems = os::BUILT_IN
            .iter()
            .map(|(name, text)| (Kind::Os, *name, *text));
        let sources = profiles.chain(systems).map(|(kind, name, text)| {
            let file = format!("{}/{name}.yaml", kind.folder());
            (
                (kind, name.to_owned()),
                Source {
                    file,
                    text: text.to_owned(),
                },
            )
        });
        Catalog {
            sources: sources.collect(),
        }
    }

    /// Adds a user's file (`profiles/boards/mine.yaml` beside the cluster file). `name` is the file's name without
    /// the ending.
    ///
    /// Refuses what cannot be read, a name other than the file's, and a name that is there already.
    pub fn extend(&mut self, kind: Kind, name: &str, file: &str, text: &str) -> Result<(), Error> {
        if self.sources.contains_key(&(kind, name.to_owned())) {
            return Err(Error::Exists {
                file: file.to_owned(),
                kind,
                name: name.to_owned(),
            });
        }
        let source = Source {
            file: file.to_owned(),
            text: text.to_owned(),
        };
        let inside = match kind {
            Kind::Board => source.read::<board::Draft>()?.name().to_owned(),
            Kind::Layout => source.read::<layout::Draft>()?.name().to_owned(),
            Kind::Set => source.read::<set::Draft>()?.name().to_owned(),
            Kind::Os => source.read::<Os>()?.name,
        };
        if inside != name {
            let message = format!(
                "the file is called `{name}`, but names itself `{}`",
                yaml::shorten(&inside)
            );
            return Err(source.error("name", message));
        }
        self.sources.insert((kind, name.to_owned()), source);
        Ok(())
    }

    /// The names of one kind, in order; boards without a kernel, which are only inherited from, are left out.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        let names = self
            .sources
            .keys()
            .filter(|(k, _)| *k == kind)
            .map(|(_, name)| name.clone());
        names
            .filter(|name| kind != Kind::Board || self.board(name).is_ok())
            .collect()
    }

    /// A board with everything it inherits.
    pub fn board(&self, name: &str) -> Result<Board, Error> {
        let draft = self.inherited(
            Kind::Board,
            name,
            |d: &board::Draft| d.inherits.clone(),
            board::Draft::over,
        )?;
        let source = self.source(Kind::Board, name)?;
        let board = draft
            .finish()
            .map_err(|key| source.error(key, format!("the key `{key}` is missing")))?;
        if board.kernel.is_empty() {
            return Err(self.unknown(Kind::Board, name));
        }
        let of_kernels = board.kernel.values().flat_map(|kernel| &kernel.kernel_args);
        for argument in board.kernel_args.iter().chain(of_kernels) {
            if let Some((message, _)) = kernel_args::problem(argument) {
                let argument = yaml::shorten(argument);
                return Err(source.error("kernel_args", format!("`{argument}`: {message}")));
            }
        }
        Ok(board)
    }

    /// A layout with everything it inherits.
    pub fn layout(&self, name: &str) -> Result<Layout, Error> {
        let draft = self.inherited(
            Kind::Layout,
            name,
            |d: &layout::Draft| d.inherits.clone(),
            layout::Draft::over,
        )?;
        let source = self.source(Kind::Layout, name)?;
        draft
            .finish()
            .map_err(|message| source.error("partitions", message))
    }

    /// A package set with everything it inherits.
    pub fn set(&self, name: &str) -> Result<Set, Error> {
        let draft = self.inherited(
            Kind::Set,
            name,
            |d: &set::Draft| d.inherits.clone(),
            set::Draft::over,
        )?;
        let source = self.source(Kind::Set, name)?;
        draft
            .finish()
            .map_err(|key| source.error(key, format!("the key `{key}` is missing")))
    }

    /// An operating system with everything it inherits.
    pub fn os(&self, name: &str) -> Result<Os, Error> {
        self.inherited(Kind::Os, name, |os: &Os| os.inherits.clone(), Os::over)
    }

    /// The name of the operating system that one goes back to, its own if it inherits from none: what is known of
    /// packages (`scripts/`) is known of that one.
    pub fn base(&self, os: &str) -> Result<String, Error> {
        // Ends, or is refused here.
        self.os(os)?;
        let mut name = os.to_owned();
        while let Some(parent) = self.source(Kind::Os, &name)?.read::<Os>()?.inherits {
            name = parent;
        }
        Ok(name)
    }

    /// Names that a mirror can be named for: the archives of all operating systems, and those of the Kubernetes
    /// distributions.
    pub fn archives(&self) -> BTreeSet<String> {
        let systems = self
            .names(Kind::Os)
            .into_iter()
            .filter_map(|name| self.os(&name).ok());
        let packages = systems.flat_map(|os| os.archives());
        let distributions = distribution::BUILT_IN
            .iter()
            .filter_map(|(which, _)| Definition::built_in(*which));
        packages
            .chain(distributions.flat_map(|definition| definition.archives()))
            .collect()
    }

    /// Reads a profile and its ancestors, and lays them over each other.
    fn inherited<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &str,
        parent: impl Fn(&T) -> Option<String>,
        over: impl Fn(T, T) -> T,
    ) -> Result<T, Error> {
        let mut seen = vec![name.to_owned()];
        let mut source = self.source(kind, name)?;
        let mut profile: T = source.read()?;
        while let Some(next) = parent(&profile) {
            if seen.contains(&next) {
                return Err(source.error("inherits", format!("`{next}` inherits from itself")));
            }
            let Ok(above) = self.source(kind, &next) else {
                let message = format!("there is no {} `{}`", kind.word(), yaml::shorten(&next));
                return Err(source.error("inherits", message));
            };
            source = above;
            profile = over(profile, source.read()?);
            seen.push(next);
        }
        Ok(profile)
    }

    fn source(&self, kind: Kind, name: &str) -> Result<&Source, Error> {
        self.sources
            .get(&(kind, name.to_owned()))
            .ok_or_else(|| self.unknown(kind, name))
    }

    fn unknown(&self, kind: Kind, name: &str) -> Error {
        // Not `names()`, which asks this function about boards that are only inherited from.
        let of_kind = self.sources.iter().filter(|((k, _), _)| *k == kind);
        let usable = of_kind.filter(|((_, n), source)| {
            n != name && (kind != Kind::Board || source.text.contains("\nkernel:"))
        });
        let known = usable.map(|((_, name), _)| name.clone()).collect();
        Error::Unknown {
            kind,
            name: yaml::shorten(name),
            known,
        }
    }
}

impl Kind {
    /// The folder its files are in.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Board => "boards",
            Kind::Os => "os",
            Kind::Layout => "layouts",
            Kind::Set => "sets",
        }
    }

    /// What people call it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Board => "board",
            Kind::Os => "operating system",
            Kind::Layout => "layout",
            Kind::Set => "package set",
        }
    }
}

impl Error {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Unknown { name, known, .. } => Some(yaml::nearest(name, known)),
            Error::File { problem, .. } => problem.hint.clone(),
            Error::Exists { name, .. } => {
                Some(format!("give yours another name, and `inherits: {name}`"))
            }
        }
    }
}

impl Source {
    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        yaml::parse(&self.text).map_err(|problem| Error::File {
            file: self.file.clone(),
            problem,
        })
    }

    /// A complaint about a top-level key, or about the whole file when it has no such key.
    fn error(&self, key: &str, message: String) -> Error {
        let line = self.text.lines().position(|line| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        });
        let line = line.map_or(1, |index| u32::try_from(index + 1).unwrap_or(u32::MAX));
        let position = Position {
            line,
            column: 1,
            length: u32::try_from(key.len()).unwrap_or(1),
        };
        let problem = yaml::Error {
            position,
            text: key.to_owned(),
            message,
            hint: None,
        };
        Error::File {
            file: self.file.clone(),
            problem,
        }
    }
}
