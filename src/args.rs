//! What can be asked for.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use prejoin_wire::disk::Code;

/// Kubernetes nodes that come up already joined: one file describes a cluster, one program turns it into bootable,
/// immutable disk images.
#[derive(Debug, Parser)]
#[command(
    name = "prejoin",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 the cluster file has findings, 2 wrong usage, 3 wrong input, 4 network, \
                  5 a signature or digest does not match, 6 this machine (disk full, permissions); of flash also \
                  10 needs a confirmation, 20 refused, 30 the disk failed, 31 it reads back something else, 32 kept data \
                  has changed.\n\
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
    #[command(after_help = LOCK_HELP)]
    Lock(Lock),
    /// Build the images of all nodes, or of some.
    #[command(after_help = "Example:\n  prejoin build worker1 worker2 --offline")]
    Build(Build),
    /// Write one node's image as a file for dd, Raspberry Pi Imager, Etcher or bmaptool.
    #[command(after_help = EXPORT_HELP)]
    Export(Export),
    /// Read images back and judge them with other code than the code that made them.
    #[command(after_help = "Example:\n  prejoin verify worker1")]
    Verify(Verify),
    /// Remove what nobody needs any more from the cache and the folder of the build.
    #[command(after_help = "Example:\n  prejoin prune --dry-run")]
    Prune(Prune),
    /// Look at disks and image files: nothing is written, but by `restore`.
    #[command(subcommand, after_help = "Example:\n  prejoin disk list worker1")]
    Disk(Disk),
    /// Write one node's image to disks or image files, beside what must stay.
    #[command(after_help = FLASH_HELP)]
    Flash(Flash),
    /// Build a small mixed cluster from what this machine can reach, and boot a node where QEMU is installed.
    #[command(after_help = "Example:\n  prejoin demo --no-boot")]
    Demo(Demo),
}

/// What `lock --help` ends with.
const LOCK_HELP: &str = "\
cluster.yaml is locked in prejoin.lock, any other NAME.yaml in NAME.lock.\n\
\n\
Example:\n  prejoin lock && git diff prejoin.lock";

/// What `export --help` ends with.
const EXPORT_HELP: &str = "\
Which kind of file:\n  \
  img.xz   for Raspberry Pi Imager, Etcher and bmaptool, or to send\n           \
           the smallest; compressed anew, with a block map and SHA256SUMS beside it\n  \
  raw.zst  to keep, or for a machine with zstd\n           \
           the stored chunks as they are, in a second; unpacked several times faster\n  \
  raw      for dd, virtual machines and whatever mounts it\n           \
           as long as the disk, sparse where the file system allows\n\
`prejoin flash` needs none of them: it writes the chunks themselves.\n\
\n\
Example:\n  prejoin export worker1 --format img.xz";

/// What `flash --help` ends with.
const FLASH_HELP: &str = "\
What is on a disk stays, unless it is this node's own system or was named with --delete. Before anything is written \
you see the verdict with its reasons, the table before and after, and the exact bytes; then you type the disk's serial \
number. Where nobody can be asked, --confirm takes the token that a dry run prints: it stands for exactly this node, \
disk, state of the disk, plan and image.\n\
\n\
Exit codes:\n  \
   0  written and read back; in a dry run: nothing speaks against it\n  \
  10  somebody has to confirm it: nothing was written\n  \
  20  refused: nothing was written\n  \
  30  the disk failed while it was written\n  \
  31  what was written reads back as something else\n  \
  32  data that was to be kept has changed\n\
A run that ended early is completed by the same command. With several targets nothing is written to any of them unless \
all may be written; the highest code counts.\n\
\n\
Examples:\n  \
  prejoin flash worker1 /dev/disk/by-id/nvme-Samsung_SSD_990_PRO_2TB_S7KHNJ0W --dry-run\n  \
  prejoin flash worker1 /dev/sda --accept DV-USB --accept ID-KNAMEONLY";

/// Which cluster file.
#[derive(Debug, Group)]
pub(crate) struct ClusterFile {
    /// The cluster file.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "cluster.yaml",
        env = "PREJOIN_CLUSTER"
    )]
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
    /// Where to write it. The JSON schema for editors is written beside it.
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    pub(crate) file: PathBuf,
    /// Public key that may log in to the nodes [default: one of ~/.ssh].
    #[arg(long, value_name = "FILE")]
    pub(crate) ssh_key: Option<PathBuf>,
}

/// `prejoin lock`
#[derive(Debug, Group)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) cluster: ClusterFile,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Folder that `build` will write to; it remembers which packages were unpacked.
    #[arg(short, long, value_name = "FOLDER", default_value = "out")]
    pub(crate) out: PathBuf,
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
    /// Nodes to verify; all of the cluster file that were built if none is named.
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterFile,
    /// Folder for downloads and unpacked packages [default: $XDG_CACHE_HOME/prejoin].
    #[arg(long, value_name = "FOLDER", env = "PREJOIN_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// Read the images back, and do not compare them with the packages in the cache.
    #[arg(long)]
    pub(crate) no_packages: bool,
    /// Folder that `build` wrote to.
    #[arg(short, long, value_name = "FOLDER", default_value = "out")]
    pub(crate) out: PathBuf,
}

/// `prejoin prune`
#[derive(Debug, Group)]
pub(crate) struct Prune {
    #[command(flatten)]
    pub(crate) cluster: ClusterFile,
    /// Folder for downloads and unpacked packages [default: $XDG_CACHE_HOME/prejoin].
    #[arg(long, value_name = "FOLDER", env = "PREJOIN_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// Folder that `build` wrote to.
    #[arg(short, long, value_name = "FOLDER", default_value = "out")]
    pub(crate) out: PathBuf,
    /// Remove from the cache what was not used for so long.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) unused_for: u16,
    /// Show what would be removed, remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `prejoin disk`
#[derive(Debug, Subcommand)]
pub(crate) enum Disk {
    /// Draw a disk, and say what is on it and why that is believed.
    #[command(after_help = "Examples:\n  prejoin disk inspect /dev/nvme0n1\n  \
                            prejoin disk inspect /dev/sda --json > sda.json && prejoin disk inspect sda.json")]
    Inspect(Inspect),
    /// List the disks of this machine, and why each is, or is not, the one that a node asks for.
    #[command(after_help = "Example:\n  prejoin disk list worker1 -f lab/cluster.yaml")]
    List(DiskList),
    /// Put the partition tables back that `flash` saved. The contents of replaced partitions are not restored.
    #[command(
        after_help = "Example:\n  prejoin disk restore worker1-S7KHNJ0W-1763640000.saved.json /dev/nvme0n1"
    )]
    Restore(Restore),
}

/// `prejoin disk inspect`
#[derive(Debug, Group)]
pub(crate) struct Inspect {
    /// A disk, an image file, or facts that --json printed.
    #[arg(value_name = "DEVICE|FILE")]
    pub(crate) disk: PathBuf,
}

/// `prejoin disk list`
#[derive(Debug, Group)]
pub(crate) struct DiskList {
    /// Node whose `disk` each is compared with.
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterFile,
}

/// `prejoin disk restore`
#[derive(Debug, Group)]
pub(crate) struct Restore {
    /// What `flash` saved.
    pub(crate) saved: PathBuf,
    /// The disk or image file that it was saved from.
    #[arg(value_name = "DEVICE|FILE")]
    pub(crate) disk: PathBuf,
    /// The disk's serial number or, if it has none, the last part of its path: instead of typing it.
    #[arg(long, value_name = "SERIAL")]
    pub(crate) confirm: Option<String>,
}

/// `prejoin flash`
#[derive(Debug, Group)]
pub(crate) struct Flash {
    /// Node whose image to write.
    pub(crate) node: String,
    /// Disks and image files, written side by side. A file must exist, in its final size.
    #[arg(
        value_name = "DEVICE|FILE",
        required_unless_present = "facts",
        conflicts_with = "facts"
    )]
    pub(crate) targets: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterFile,
    /// Folder that `build` wrote to.
    #[arg(short, long, value_name = "FOLDER", default_value = "out")]
    pub(crate) out: PathBuf,
    /// What becomes of what is there [default: reimage if the disk is this node's, else install].
    #[arg(long, value_enum)]
    pub(crate) mode: Option<FlashMode>,
    /// What may go: the GUID of a partition, the UUID of what is on one or on the whole disk, @ and the first byte, or a
    /// file or folder of the node's state (/var/lib/rook).
    #[arg(long, value_name = "NAME")]
    pub(crate) delete: Vec<String>,
    /// A finding that needs no further question, by its code (DV-USB).
    #[arg(long, value_name = "CODE", value_parser = code)]
    pub(crate) accept: Vec<Code>,
    /// The token that a dry run printed: nobody is asked.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) confirm: Vec<String>,
    /// Judge and show, write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Judge a disk by the facts that `disk inspect --json` printed of it.
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub(crate) facts: Option<PathBuf>,
    /// Compare first, and write only what differs: updates, audits, interrupted runs.
    #[arg(long)]
    pub(crate) verify_first: bool,
    /// Do not read back what was written. Tables and kept partitions are read back all the same.
    #[arg(long)]
    pub(crate) no_read_back: bool,
    /// Threads for each target; each takes 2 MiB of memory.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) threads: u8,
    /// Folder for saved tables and for the journal [default: $XDG_STATE_HOME/prejoin].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) save: Option<PathBuf>,
}

/// What becomes of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlashMode {
    /// A new node: everything found stays, beside it.
    Install,
    /// The node's system anew; its state and its data stay.
    Reimage,
    /// The node's system and state anew; its data stays.
    WipeState,
}

fn code(text: &str) -> Result<Code, String> {
    let known = Code::ALL
        .iter()
        .find(|code| code.name().eq_ignore_ascii_case(text));
    known
        .copied()
        .ok_or_else(|| "no finding has this code".to_owned())
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
