//! A folder in which the program is run, and the record of what it said.

use prejoin_store::folder::{self, Opened};
use prejoin_store::hold::Hold;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_prejoin");

/// A folder with cache and output, and everything that was said in it.
pub struct Session {
    folder: TempDir,
    environment: Vec<(String, String)>,
    log: String,
}

impl Session {
    /// An empty folder that every user may enter.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Session {
            folder,
            environment: Vec::new(),
            log: String::new(),
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The image of a node in `out`, as its documents say.
    pub fn image(&self, node: &str) -> Opened {
        let out = self.path("out");
        folder::open(&out, node, Hold::shared(&out, |_| {})).unwrap()
    }

    /// A file's text.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Changes a file's text.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no `{from}`:\n{text}");
        self.write(name, text.replace(from, to));
    }

    /// Sets a variable for all further runs.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// The program with these arguments, in the folder, with nothing of this machine's environment.
    pub fn command(&self, arguments: &str) -> Command {
        self.of(Command::new(PROGRAM), arguments)
    }

    /// The same, started by another program; `wrapper` is its beginning of a command line.
    pub fn wrapped(&self, wrapper: &[&str], arguments: &str) -> Command {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(PROGRAM);
        self.of(command, arguments)
    }

    fn of(&self, mut command: Command, arguments: &str) -> Command {
        command
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear();
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("NO_PROXY", "127.0.0.1");
        command
            .env("PREJOIN_CACHE", self.path("cache"))
            .env("COLUMNS", "100");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program and records what it said.
    pub fn run(&mut self, arguments: &str) -> Output {
        let output = self.command(arguments).output().unwrap();
        self.record(&format!("prejoin {arguments}"), &output);
        output
    }

    /// Runs the program, which must succeed, and records nothing.
    pub fn quietly(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        let (stdout, stderr) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "prejoin {arguments}: {}\n{stdout}{stderr}",
            output.status
        );
        stdout
    }

    /// Records what a command said.
    pub fn record(&mut self, command: &str, output: &Output) {
        let code = output
            .status
            .code()
            .map_or("none: killed".to_owned(), |code| code.to_string());
        let [stdout, stderr] = [&output.stdout, &output.stderr]
            .map(|bytes| self.redacted(&String::from_utf8_lossy(bytes)));
        self.log.push_str(&format!(
            "$ {}\nexit code {code}\n",
            self.redacted(command).trim_end()
        ));
        for (name, text) in [("stdout", stdout), ("stderr", stderr)] {
            if !text.is_empty() {
                self.log.push_str(&format!("---- {name}\n{text}"));
            }
        }
        self.log.push('\n');
    }

    /// Records a line.
    pub fn note(&mut self, line: &str) {
        let line = self.redacted(line);
        self.log.push_str(&format!("# {line}"));
    }

    /// Compares all that was recorded with `golden/<name>.txt`.
    pub fn golden(self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/cli/golden")
            .join(format!("{name}.txt"));
        if std::env::var_os("PREJOIN_BLESS").is_some() {
            fs::write(&path, &self.log).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        for (number, (expected, found)) in expected.lines().zip(self.log.lines()).enumerate() {
            assert_eq!(
                found,
                expected,
                "{name}.txt, line {}, of\n{}",
                number + 1,
                self.log
            );
        }
        assert_eq!(
            self.log.len(),
            expected.len(),
            "{name}.txt against\n{}",
            self.log
        );
    }

    fn redacted(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let text = text
            .replace(&folder, "[FOLDER]")
            .replace(PROGRAM, "prejoin");
        let base = crate::archive::base().display().to_string();
        redact(&text.replace(&base, "[ARCHIVES]"))
    }
}

/// Replaces what differs between runs and machines; lines end with a line break.
fn redact(text: &str) -> String {
    let mut out = String::new();
    let mut table = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let mut changed = false;
        let mut redacted: Vec<String> = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let unit = words[index + 1..]
                .iter()
                .find(|next| !next.is_empty())
                .map(|next| next.trim_end_matches([',', ')', ';']));
            let number = word.trim_start_matches('(');
            let is_number =
                !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            if is_number
                && matches!(
                    unit,
                    Some("s" | "ms" | "B" | "KiB" | "MiB" | "GiB" | "bytes")
                )
                && words.get(index + 1).is_some_and(|next| !next.is_empty())
            {
                redacted.push("[N]".to_owned());
                changed = true;
            } else {
                redacted.push(hexadecimal(word));
            }
        }
        let mut line = redacted.join(" ");
        if changed {
            // Units and the width of columns follow the numbers.
            for unit in ["B", "KiB", "MiB", "GiB", "s", "ms"] {
                for end in ["", ",", ")", " "] {
                    line = line.replace(&format!("[N] {unit}{end}"), &format!("[N]{end}"));
                }
            }
        }
        if changed || line.starts_with("node ") {
            while line.contains("   ") {
                line = line.replace("   ", "  ");
            }
        }
        if let Some((before, after)) = line.split_once("clock says ") {
            line = format!("{before}clock says [TODAY]{}", &after[10..]);
        }
        // How many chunks there are depends on the size of the agent.
        table = line.starts_with("node  chunks") || table && !line.is_empty();
        if let (true, Some((node, rest))) = (table, line.split_once("  ")) {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            line = if rest.starts_with("chunks") {
                line
            } else {
                format!("{node}  [N]{rest}")
            };
        }
        for key in ["bytes", "chunks"] {
            if let Some((before, after)) = line.split_once(&format!("\"{key}\": ")) {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                line = format!("{before}\"{key}\": [N]{rest}");
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    port(&folders(&saved(&out)))
}

/// Replaces what stands for a disk and a time in the names of saved partition tables.
fn saved(text: &str) -> String {
    let mut parts = text.split(".saved.json").peekable();
    let mut out = String::new();
    while let Some(part) = parts.next() {
        let name = part.trim_end_matches(|c: char| c.is_ascii_hexdigit() || c == '-');
        let is_last = parts.peek().is_none();
        out.push_str(if is_last { part } else { name });
        out.push_str(if is_last {
            ""
        } else {
            "-[DISK]-[TIME].saved.json"
        });
    }
    out
}

/// Replaces the first two digits of a digest, which are the folder that a file called after it is in.
fn folders(text: &str) -> String {
    let mut parts = text.split("/[DIGEST]");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let folder = out.len().saturating_sub(3);
        if out.is_char_boundary(folder) && out[folder..].starts_with('/') {
            out.replace_range(folder.., "/[DI]");
        }
        out.push_str("/[DIGEST]");
        out.push_str(part);
    }
    out
}

/// Replaces digests, fingerprints and the like: runs of at least 12 hexadecimal digits.
fn hexadecimal(word: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for character in word.chars().chain(['\0']) {
        if character.is_ascii_hexdigit() {
            run.push(character);
            continue;
        }
        match run.len() {
            64 => out.push_str("[DIGEST]"),
            40 => out.push_str("[FINGERPRINT]"),
            16 => out.push_str("[KEY]"),
            _ => out.push_str(&run),
        }
        run.clear();
        if character != '\0' {
            out.push(character);
        }
    }
    out
}

fn port(text: &str) -> String {
    let mut parts = text.split("http://127.0.0.1:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("[SERVER]");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

/// Whether a tool is missing, said loudly; on CI it must be there.
pub fn absent(tool: &str) -> bool {
    let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    let absent = !folders
        .iter()
        .any(|folder| Path::new(folder).join(tool).exists());
    if absent {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{tool} is needed on CI"
        );
        skipped(&format!("{tool} is not installed"));
    }
    absent
}

/// Says that something is not tested, past the test harness's capture.
pub fn skipped(why: &str) {
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("SKIPPED: {why}\n").as_bytes(),
    )
    .unwrap();
}

/// What a command prints; it must succeed.
pub fn checked(command: &mut Command) -> String {
    command
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// What has a file system of its own around `script` (`sh -c`), with the rights to mount in it; none where the machine
/// forbids that.
pub fn own_mounts() -> Option<Vec<&'static str>> {
    let ways = [
        vec!["unshare", "--mount"],
        vec!["unshare", "--mount", "--map-root-user"],
    ];
    let works = |way: &Vec<&str>| {
        let mut command = Command::new(way[0]);
        command
            .args(&way[1..])
            .args(["mount", "-t", "tmpfs", "none", "/mnt"]);
        command.output().is_ok_and(|output| output.status.success())
    };
    let way = ways.into_iter().find(works);
    if way.is_none() {
        skipped("mounting needs root or user name spaces");
    }
    way
}
