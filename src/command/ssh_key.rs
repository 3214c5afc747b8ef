//! Whose key goes into a cluster file that is written for somebody.
#![expect(clippy::disallowed_methods, reason = "looks into ~/.ssh")]

use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use prejoin_image_builder::class::Class;
use prejoin_profiles::cluster::SshKey;
use prejoin_wire::printable::printable;

use crate::failure::Failure;
use crate::report::Report;
use crate::settings;

/// A public key and the file that it stands in.
struct Found {
    path: PathBuf,
    key: SshKey,
}

/// The keys to write: of the file that was named, else what is found in `~/.ssh`, or chosen from it on a terminal.
pub(crate) fn choose(named: Option<&Path>, report: &Report) -> Result<Vec<SshKey>, Failure> {
    if let Some(path) = named {
        return named_file(path);
    }
    let mut found = found();
    if found.is_empty() {
        report.say(
            "note: no public key was found in ~/.ssh, so nobody can log in yet: make one with \
             `ssh-keygen -t ed25519`, and put the line of its .pub file under `ssh_keys:`",
        );
        return Ok(Vec::new());
    }
    let chosen = if found.len() > 1 && is_asked(report) {
        ask(&found)?
    } else {
        0
    };
    let Found { path, key } = found.swap_remove(chosen);
    let others = match found.len() {
        0 => "",
        _ => "; another one is taken with --ssh-key FILE",
    };
    report.say(format!(
        "the key of {} opens the nodes{others}",
        path.display()
    ));
    Ok(vec![key])
}

/// All keys of a file, which has one on each line.
fn named_file(path: &Path) -> Result<Vec<SshKey>, Failure> {
    let text = settings::read(path, "the public key")?;
    let hint =
        "name the file that ends in `.pub`: it has one line, `ssh-ed25519 AAAA… you@machine`";
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<SshKey>, _> = lines.map(str::parse).collect();
    let complain = |problem: &str| {
        Failure::plain(Class::Input, format!("{}: {problem}", path.display())).hint(hint.to_owned())
    };
    match keys {
        Ok(keys) if keys.is_empty() => Err(complain("the file holds no key")),
        Ok(keys) => Ok(keys),
        Err(problem) => Err(complain(problem)),
    }
}

/// What `~/.ssh/*.pub` hold, the kind that new keys should have first, then by name.
fn found() -> Vec<Found> {
    let Some(home) = settings::variable("HOME") else {
        return Vec::new();
    };
    let entries = fs::read_dir(Path::new(&home).join(".ssh"));
    let paths = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "pub") && path.is_file());
    // What is no key, such as a certificate, is somebody else's business.
    let mut found: Vec<Found> = paths
        .filter_map(|path| {
            let text = settings::read(&path, "the key").ok()?;
            let key = text.trim().parse().ok()?;
            Some(Found { path, key })
        })
        .collect();
    found.sort_by_key(|found| (!found.key.kind.contains("ed25519"), found.path.clone()));
    found
}

fn is_asked(report: &Report) -> bool {
    !report.is_json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Which of several, by number.
fn ask(found: &[Found]) -> Result<usize, Failure> {
    let mut question = String::from("Whose key may log in to the nodes?\n");
    for (index, Found { path, key }) in found.iter().enumerate() {
        let shown = format!("{} ({} {})", path.display(), key.kind, key.comment);
        question.push_str(&format!("  {}  {}\n", index + 1, printable(&shown)));
    }
    question.push_str("Number [1]: ");
    let mut line = String::new();
    let mut out = std::io::stderr();
    write!(out, "{question}")
        .and_then(|()| out.flush())
        .and_then(|()| std::io::stdin().lock().read_line(&mut line))
        .map_err(|error| Failure::new(Class::Environment, &error))?;
    let answer = match line.trim() {
        "" => Some(1),
        text => text.parse::<usize>().ok(),
    };
    answer
        .and_then(|number| number.checked_sub(1))
        .filter(|index| *index < found.len())
        .ok_or_else(|| {
            let message = format!("`{}` is none of these numbers", line.trim().escape_debug());
            Failure::plain(Class::Input, message).hint("nothing was written".to_owned())
        })
}
