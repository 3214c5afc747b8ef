//! What can be asked for.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

/// Kubernetes nodes that come up already joined: one file describes a cluster, one program turns it into bootable,
/// immutable disk images.
#[derive(Debug, Parser)]
#[command(
    name = "prejoin",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 the cluster file has findings, 2 wrong usage, 3 wrong input, 4 network, \
                  5 a signature or digest does not match, 6 this machine (disk full, permissions).\n\
                  \nExample:\n  prejoin init && prejoin check && prejoin lock && prejoin build"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print results as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On terminals, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands, in the order a user meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a cluster.yaml to start from.
    #[command(after_help = "Example:\n  prejoin init --example pi5-kubeadm-longhorn")]
    Init(Init),
    /// Is the plan sound? Reads nothing but the cluster file.
    #[command(after_help = "Example:\n  prejoin check -f lab/cluster.yaml")]
    Check(ClusterFile),
    /// Print the JSON schema of cluster.yaml, for editors.
    #[command(after_help = "Example:\n  prejoin schema > cluster.schema.json")]
    Schema,
    /// Resolve every input to a version and a digest: writes prejoin.lock beside the cluster file.
    #[command(after_help = "Example:\n  prejoin lock && git diff prejoin.lock")]
    Lock(Lock),
    /// Build the images of all nodes, or of some.
    #[command(after_help = "Example:\n  prejoin build worker1 worker2 --offline")]
    Build(Build),
    /// Write one node's image as a file for dd, Raspberry Pi Imager, Etcher or bmaptool.
    #[command(after_help = "Example:\n  prejoin export worker1 --format img.xz")]
    Export(Export),
    /// Read images back and judge them with other code than the code that made them.
    #[command(after_help = "Example:\n  prejoin verify worker1")]
    Verify(Verify),
    /// Build a small mixed cluster from what this machine can reach, and boot a node where QEMU is installed.
    #[command(after_help = "Example:\n  prejoin demo --no-boot")]
    Demo(Demo),
}

/// Which cluster file.
#[derive(Debug, Group)]
pub(crate) struct ClusterFile {
    /// The cluster file.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml", env = "PREJOIN_CLUSTER")]
    pub(crate) file: PathBuf,
}

/// Where inputs come from.
#[derive(Debug, Group)]
pub(crate) struct Inputs {
    /// Folder for downloads and unpacked packages, shared by all clusters [default: $XDG_CACHE_HOME/prejoin].
    #[arg(long, value_name = "FOLDER", env = "PREJOIN_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// Address of an archive of packages or programs, before all other settings; may be given several times.
    #[arg(long, value_name = "ARCHIVE=URL")]
    pub(crate) mirror: Vec<String>,
    /// Use nothing but the cache.
    #[arg(long)]
    pub(crate) offline: bool,
}

/// `prejoin init`
#[derive(Debug, Group)]
pub(crate) struct Init {
    /// Which example to start from; `list` shows them.
    #[arg(long, default_value = "demo", value_name = "NAME")]
    pub(crate) example: String,
    /// Where to write it.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    pub(crate) file: PathBuf,
}

/// `prejoin lock`
#[derive(Debug, Group)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) cluster: ClusterFile,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Take releases past their `Valid-Until`: for dated archives, which nobody signs anew.
    #[arg(long)]
    pub(crate) accept_expired: bool,
}

/// `prejoin build`
#[derive(Debug, Group)]
pub(crate) struct Build {
    /// Nodes to build; all if none is named.
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterFile,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Folder for manifests and chunks.
    #[arg(short, long, value_name = "FOLDER", default_value = "out")]
    pub(crate) out: PathBuf,
    /// Logical sector size of the nodes' disks.
    #[arg(long, value_name = "BYTES", default_value_t = 512, value_parser = clap::value_parser!(u32).range(512..=4096))]
    pub(crate) sector_size: u32,
}

/// `prejoin export`
#[derive(Debug, Group)]
pub(crate) struct Export {
    /// Node whose image to write.
    pub(crate) node: String,
    /// Folder that `build` wrote to.
    #[arg(short, long, value_name = "FOLDER", default_value = "out")]
    pub(crate) out: PathBuf,
    /// Kind of file.
    #[arg(long, default_value = "img.xz", value_parser = ["raw", "raw.zst", "img.xz"])]
    pub(crate) format: String,
    /// Folder for the file [default: the folder of the build].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
}

/// `prejoin verify`
#[derive(Debug, Group)]
pub(crate) struct Verify {
    /// Nodes to verify; all that were built if none is named.
    pub(crate) nodes: Vec<String>,
    /// Folder that `build` wrote to.
    #[arg(short, long, value_name = "FOLDER", default_value = "out")]
    pub(crate) out: PathBuf,
}

/// `prejoin demo`
#[derive(Debug, Group)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Folder for everything that the demo writes.
    #[arg(short, long, value_name = "FOLDER", default_value = "target/demo")]
    pub(crate) out: PathBuf,
    /// Do not boot a node, even where QEMU is installed.
    #[arg(long)]
    pub(crate) no_boot: bool,
}
