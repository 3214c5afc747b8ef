use serde_json::Value;

use super::CloudConfig;
use super::cloud_config::Step;
use crate::yaml::Position;
use prejoin_wire::path;

/// One line of `/etc/fstab`, from an item of `mounts` in the user's cloud-config.
///
/// cloud-init's own module would write it once there is a network, wait there for servers that are off, and
/// leave lines behind that are gone from the cluster file. systemd reads the file before it starts anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted: `server:/folder`, `/dev/disk/by-id/…`, `LABEL=…`, `UUID=…`, or a word such as `tmpfs`.
    pub source: String,
    /// Where.
    pub point: String,
    /// Type of the file system.
    pub kind: String,
    /// Options, `nofail` among them: no disk and no server may keep a node from starting.
    pub options: String,
    /// Whether dump(8) saves it.
    pub dump: u8,
    /// When fsck(8) checks it; 0 is never.
    pub pass: u8,
}

/// Why an item is not a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountProblem {
    /// Where in the cluster file.
    pub position: Position,
    /// What is wrong.
    pub message: String,
    /// What the user can do.
    pub hint: &'static str,
}

/// Directories of the image that are there to be mounted on; the root is read-only, and no other can be made in it.
const MADE: [&str; 6] = ["home", "media", "mnt", "opt", "root", "srv"];

impl CloudConfig {
    /// What the node mounts, item by item.
    pub fn mounts(&self) -> Vec<Result<Mount, MountProblem>> {
        let at = [Step::Key("mounts")];
        let problem = |message: &str, hint| {
            let position = self.place(&at);
            let message = message.to_owned();
            vec![Err(MountProblem {
                position,
                message,
                hint,
            })]
        };
        match self.value.get("mounts") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => {
                let mount = |(index, item)| self.mount(index, item);
                items.iter().enumerate().map(mount).collect()
            }
            Some(_) => problem("`mounts` is a list of lists", EXAMPLE),
        }
    }

    fn mount(&self, index: usize, item: &Value) -> Result<Mount, MountProblem> {
        let problem = |field: Option<usize>, message: String, hint| {
            let item = [Step::Key("mounts"), Step::Item(index)];
            let mut path = item.to_vec();
            path.extend(field.map(Step::Item));
            MountProblem {
                position: self.place(&path),
                message,
                hint,
            }
        };
        let fields = item.as_array().and_then(|item| fields(item));
        let Some(fields) = fields else {
            let message = "a mount is a list of two to six words".to_owned();
            return Err(problem(None, message, EXAMPLE));
        };
        let field = |index: usize| fields.get(index).and_then(Option::as_deref);
        let (Some(source), Some(point)) = (field(0), field(1)) else {
            let message = "a mount needs what is mounted, and where".to_owned();
            return Err(problem(None, message, EXAMPLE));
        };
        let kind = field(2).unwrap_or(if is_remote(source) { "nfs" } else { "auto" });
        if kind == "swap" || source == "swap" {
            let message = "a kubelet does not start on a node with swap".to_owned();
            return Err(problem(None, message, "remove it"));
        }
        if !is_source(source, kind) {
            let message = format!("`{source}` is no device and no folder of a server");
            let hint = "write `server:/folder`, `LABEL=…`, `UUID=…` or `/dev/disk/by-id/…`; names such as `sdb` \
                        change from start to start";
            return Err(problem(Some(0), message, hint));
        }
        if let Some((message, hint)) = point_problem(point) {
            return Err(problem(Some(1), message, hint));
        }
        let remote = is_remote(source);
        let number = |index: usize, default: u8| match field(index) {
            None => Ok(default),
            Some(text) => text.parse::<u8>().map_err(|_| {
                let message = "the last two words of a mount are whole numbers".to_owned();
                problem(Some(index), message, "leave them out")
            }),
        };
        let disk = !remote && (source.starts_with("/dev/") || source.contains('='));
        Ok(Mount {
            options: options(field(3).unwrap_or("defaults"), remote),
            dump: number(4, 0)?,
            pass: number(5, if disk { 2 } else { 0 })?,
            kind: kind.to_owned(),
            source: source.to_owned(),
            point: point.to_owned(),
        })
    }
}

const EXAMPLE: &str = "write `- [\"10.0.0.9:/share\", /srv/share, nfs]`";

/// Words of an item; none where it has `null`, which stands for the default.
fn fields(item: &[Value]) -> Option<Vec<Option<String>>> {
    let word = |value: &Value| match value {
        Value::Null => Some(None),
        Value::String(text) if !text.is_empty() && !text.contains(['\n', '\r', '\0']) => {
            Some(Some(text.clone()))
        }
        Value::Number(number) => Some(Some(number.to_string())),
        _ => None,
    };
    let words: Option<Vec<_>> = item.iter().map(word).collect();
    words.filter(|words| (2..=6).contains(&words.len()))
}

/// What libmount takes for a server: a colon before the path.
fn is_remote(source: &str) -> bool {
    source.contains(":/") || source.starts_with("//")
}

fn is_source(source: &str, kind: &str) -> bool {
    const WITHOUT: [&str; 5] = ["tmpfs", "none", "overlay", "debugfs", "bpf"];
    source.starts_with('/')
        || is_remote(source)
        || source.split_once('=').is_some_and(|(tag, value)| {
            ["LABEL", "UUID", "PARTLABEL", "PARTUUID", "ID"].contains(&tag) && !value.is_empty()
        })
        || WITHOUT.contains(&kind)
        || WITHOUT.contains(&source)
}

/// Why nothing can be mounted there, and what to do.
fn point_problem(point: &str) -> Option<(String, &'static str)> {
    const HINT: &str = "mount it below `/srv`, `/var`, `/opt` or `/home`, or at `/mnt`";
    let clean = point
        .strip_prefix('/')
        .map(|point| point.trim_end_matches('/'))
        .filter(|point| path::is_clean(point.as_bytes()));
    let Some(clean) = clean else {
        return Some(("a mount point is an absolute, clean path".to_owned(), HINT));
    };
    if MADE.contains(&clean) {
        return None;
    }
    if clean.split('/').next() == Some("etc") {
        let message = format!("`/{clean}` is part of what makes the node");
        return Some((message, HINT));
    }
    let error = path::check_file(clean.as_bytes()).err()?;
    let message = match error {
        path::Error::Outside(_) => format!("`/{clean}` cannot be made: the root is read-only"),
        error => error.to_string(),
    };
    Some((message, HINT))
}

/// The options as they are, with what keeps a node starting: without `nofail` systemd waits, and a local mount that
/// fails ends in the emergency shell. What hangs on the network is mounted when there is one.
fn options(given: &str, remote: bool) -> String {
    let mut options: Vec<&str> = given.split(',').collect();
    for (wanted, needed) in [("nofail", true), ("_netdev", remote)] {
        if needed && !options.contains(&wanted) {
            options.push(wanted);
        }
    }
    options.join(",")
}
