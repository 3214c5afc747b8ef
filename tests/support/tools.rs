//! Running the field's own tools, and comparing with golden text.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where tools are.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A tool with a plain environment.
pub fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    command
}

/// A command of arguments separated by white space; `paths` replace every `{}`.
pub fn line(words: &str, paths: &[&Path]) -> Command {
    let mut paths = paths.iter();
    let mut words = words.split_whitespace();
    let mut command = tool(words.next().unwrap());
    for word in words {
        match word.split_once("{}") {
            Some((before, after)) => {
                command.arg(format!(
                    "{before}{}{after}",
                    paths.next().unwrap().display()
                ));
            }
            None => {
                command.arg(word);
            }
        }
    }
    command
}

/// What a tool prints; it must succeed.
pub fn checked(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = said(&output);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a tool prints, and whether it succeeded.
pub fn tried(command: &mut Command) -> (bool, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    (output.status.success(), said(&output))
}

/// The bytes that a tool prints when it is given `input`; it must succeed.
pub fn piped(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    output.stdout
}

/// Both streams of a tool.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Whether any of these tools is missing, said loudly; on CI all must be there.
pub fn absent(tools: &[&str]) -> bool {
    let found = |tool: &str| {
        PATH.split(':')
            .any(|folder| Path::new(folder).join(tool).exists())
    };
    let missing: Vec<_> = tools.iter().filter(|tool| !found(tool)).collect();
    missing
        .iter()
        .for_each(|tool| skipped(&format!("{tool} is not installed: tests/setup installs it")));
    !missing.is_empty()
}

/// Says that something is not tested, past the test harness's capture; on CI everything must be.
pub fn skipped(why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "CI must run everything: {why}"
    );
    std::io::stderr()
        .write_all(format!("\n*** SKIPPED: {why} ***\n").as_bytes())
        .unwrap();
}

/// Says how far a long test is, past the test harness's capture.
pub fn say(what: &str) {
    std::io::stderr()
        .write_all(format!("{what}\n").as_bytes())
        .unwrap();
}

/// Compares with golden text under `tests/`; `PREJOIN_BLESS=1` rewrites it.
pub fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    if std::env::var_os("PREJOIN_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    for (number, (expected, found_line)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(
            found_line,
            expected,
            "{name}, line {}, of\n{found}",
            number + 1
        );
    }
    assert_eq!(found.len(), expected.len(), "{name} against\n{found}");
}

/// `target/tests`, for what is large or shared between tests.
pub fn folder(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("tests").join(name);
    fs::create_dir_all(&path).unwrap();
    path
}
