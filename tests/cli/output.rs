//! Where the program's words go: to a pipe that nobody reads any more, to a full disk, to a terminal that obeys.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::process::{Output, Stdio};

use prejoin_wire::printable::is_mute;

use crate::session::Session;
use crate::tiny;

/// What makes each command print a result: after one in which node one was built and written to `disk.img`.
const RESULTS: [(&str, &str); 13] = [
    ("init", "init --example list"),
    ("check", "check"),
    ("schema", "schema"),
    ("lock", "lock"),
    ("build", "build one --offline"),
    ("export", "export one --format raw.zst --to ."),
    ("verify", "verify one"),
    ("prune", "prune --dry-run"),
    ("disk inspect", "disk inspect disk.img"),
    ("disk list", "disk list"),
    (
        "disk restore",
        "disk restore saved.json disk.img --confirm disk.img",
    ),
    (
        "flash",
        "flash one disk.img --save state --accept ID-EXPECTMISMATCH --dry-run",
    ),
    // It builds what it shows from Debian's archive: only its help can be tried here.
    ("demo", "demo --help"),
];

/// The commands below `command`, as its help lists them.
fn commands(session: &Session, command: &str) -> Vec<String> {
    let help = session.quietly(&format!("{command} --help"));
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return vec![command.to_owned()];
    };
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    names
        .flat_map(|name| commands(session, format!("{command} {name}").trim()))
        .collect()
}

/// Runs a command with something else as stdout or stderr.
fn run(session: &Session, command: &str, stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = session.command(command);
    command.stdout(stdout).stderr(stderr).output().unwrap()
}

fn full() -> Stdio {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    full.into()
}

/// The end of a pipe whose other end is closed.
fn closed() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn every_command_gets_on_with_a_closed_or_full_stdout() {
    let Some(mut session) = tiny::built() else {
        return;
    };
    let known: BTreeSet<String> = commands(&session, "").into_iter().collect();
    let tried: BTreeSet<String> = RESULTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(known, tried, "every command is tried, and no other");

    let disk = File::create(session.path("disk.img")).unwrap();
    disk.set_len(1500 << 20).unwrap();
    drop(disk);
    session.quietly("flash one disk.img --save state --accept ID-EXPECTMISMATCH");
    let saved = tiny::files(&session.path("state"))
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with(".saved.json"));
    let saved = session.path("state").join(saved.unwrap());
    std::fs::copy(saved, session.path("saved.json")).unwrap();

    let helps = RESULTS.map(|(name, _)| format!("{name} --help"));
    let plain = RESULTS.map(|(_, command)| command.to_owned());
    let json = RESULTS.map(|(_, command)| format!("{command} --json"));
    let others = ["--help", "--version"].map(str::to_owned);
    let all = helps.iter().chain(&plain).chain(&json).chain(&others);
    for command in all {
        let output = run(&session, command, full(), Stdio::piped());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{command}: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: writing the result to stdout: No space left"),
            "{command}: {said}"
        );

        let output = run(&session, command, closed(), Stdio::piped());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(141), "{command}: {said}");
        assert!(!said.contains("error") && !said.contains("panic"), "{said}");
    }
    // What is said beside the result is not worth stopping for.
    session.set("PREJOIN_CLUSTER", "none.yaml");
    for (command, code) in [
        ("check", 3),
        ("biuld", 2),
        ("verify one", 0),
        ("check -f cluster.yaml", 0),
    ] {
        for stderr in [full(), closed()] {
            let output = run(&session, command, Stdio::piped(), stderr);
            assert_eq!(output.status.code(), Some(code), "{command}");
        }
    }
}

#[test]
fn nothing_foreign_takes_over_the_terminal() {
    let session = Session::new();
    let foreign = "a\x1b[2J\u{7f}\u{9b}8m\u{202e}b";
    session.write(
        "cluster.yaml",
        format!("name: \"lab\nos: {foreign}\n\u{2066}: [\x1b]0;title\x07\n"),
    );
    session.write("text", foreign);
    session.write(foreign, foreign);
    let wrong = format!("{foreign} --color always");
    for command in [
        "check".to_owned(),
        "check --json".to_owned(),
        "check --color always".to_owned(),
        format!("check -f {foreign}"),
        format!("check -f {foreign} --json"),
        format!("check -f nothing-{foreign}"),
        format!("lock --mirror {wrong}"),
        format!("disk inspect {wrong}"),
        format!("disk inspect nothing-{foreign} --json"),
        format!("verify {foreign} --out {foreign}"),
        format!("export {foreign}"),
        format!("init --example {foreign}"),
        wrong,
    ] {
        let output = run(&session, &command, Stdio::piped(), Stdio::piped());
        for bytes in [output.stdout, output.stderr] {
            let text = String::from_utf8(bytes).unwrap();
            // Our own colours are there where they were asked for.
            let ours = ["1;31", "33", "0"].map(|paint| format!("\x1b[{paint}m"));
            let text = ours.iter().fold(text, |text, ours| text.replace(ours, ""));
            let shown = text.replace(['\n', '\t'], "");
            assert!(!shown.contains(is_mute), "{command:?}: {text:?}");
        }
    }
}
