//! People and files.

use std::str::FromStr;

use super::Findings;
use crate::cluster::raw::{self, Text};
use crate::cluster::{Content, File, SshKey, User};
use crate::finding::{Code, Finding, private_key};
use crate::yaml::Located;
use prejoin_wire::path;

/// Accounts that Debian's base-passwd and the image's packages own.
const RESERVED: &[&str] = &[
    "root",
    "daemon",
    "bin",
    "sys",
    "sync",
    "games",
    "man",
    "lp",
    "mail",
    "news",
    "uucp",
    "proxy",
    "www-data",
    "backup",
    "list",
    "irc",
    "nobody",
    "messagebus",
    "sshd",
    "systemd-network",
    "systemd-resolve",
    "systemd-timesync",
    "_apt",
    "polkitd",
    "tss",
    "_chrony",
    "etcd",
    "statd",
    "_rpc",
];

pub(super) fn user(raw: raw::User, f: &mut Findings) -> User {
    let name = user_name(raw.name, f);
    let keys: Vec<_> = raw
        .ssh_keys
        .into_iter()
        .filter_map(|key| ssh_key(key, f))
        .collect();
    let password_hash = raw.password_hash.map(|hash| password_hash(hash, f));
    if let Some(shell) = raw.shell.as_ref().filter(|shell| !clean_path(shell)) {
        f.push(
            Finding::error(
                Code::Login,
                shell.position,
                shell,
                "not the path of a shell",
            )
            .hint("use /bin/bash"),
        );
    }
    User {
        groups: raw
            .groups
            .into_iter()
            .map(|group| group_name(group, f))
            .collect(),
        shell: raw
            .shell
            .unwrap_or_else(|| Located::nowhere("/bin/bash".to_owned())),
        sudo: raw.sudo,
        name,
        keys,
        password_hash,
    }
}

fn user_name(text: Text, f: &mut Findings) -> Text {
    if RESERVED.contains(&text.as_str()) {
        let message = format!("the user `{}` belongs to the system", text.value);
        let hint = "choose another name, and `sudo: true` for becoming root";
        f.push(Finding::error(Code::Name, text.position, &text, message).hint(hint));
        return text;
    }
    let found = f.len();
    let text = group_name(text, f);
    // useradd's limit; longer names break utmp.
    if f.len() == found && text.len() > 32 {
        f.push(
            Finding::error(
                Code::Name,
                text.position,
                &text,
                "the user name is longer than 32 characters",
            )
            .hint("shorten it"),
        );
    }
    text
}

/// adduser(8)'s default NAME_REGEX.
fn group_name(text: Text, f: &mut Findings) -> Text {
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    if !first || !rest {
        let message =
            "user and group names hold lower-case letters, digits, `-` and `_`, a letter first";
        f.push(
            Finding::error(Code::Name, text.position, &text, message).hint("choose another name"),
        );
    }
    text
}

/// crypt(5): `$id$…` of an algorithm that is still safe.
fn password_hash(text: Text, f: &mut Findings) -> Text {
    let known = ["$y$", "$gy$", "$7$", "$2b$", "$2y$", "$6$", "$5$"]
        .iter()
        .any(|prefix| text.starts_with(prefix));
    let clean = text.len() >= 20 && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if !known || !clean {
        // It may be the password itself: never shown.
        let finding = Finding::error(
            Code::Password,
            text.position,
            &"",
            "not the hash of a password",
        );
        f.push(
            finding
                .hint("make one with `mkpasswd -m yescrypt`; never put the password itself here"),
        );
    }
    text
}

/// One line of `authorized_keys` (sshd(8)) without options: type, base64 of type and key, comment.
fn ssh_key(text: Text, f: &mut Findings) -> Option<Located<SshKey>> {
    if private_key(&text).is_some() {
        let finding = Finding::error(
            Code::PrivateKey,
            text.position,
            &"",
            "this is a private key",
        );
        f.push(
            finding
                .hint("it is no longer secret once shared: make a new one, and put the line of its `.pub` file here"),
        );
        return None;
    }
    match text.parse::<SshKey>() {
        Ok(key) => Some(Located::at(key, text.position)),
        Err(problem) => {
            let finding = Finding::error(Code::Key, text.position, &text, problem);
            f.push(
                finding.hint(
                    "copy the whole line of the `.pub` file: `ssh-ed25519 AAAA… you@machine`",
                ),
            );
            None
        }
    }
}

impl FromStr for SshKey {
    type Err = &'static str;

    /// A line of a `.pub` file.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut words = text.split_ascii_whitespace();
        let (kind, data) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match key_problem(text, kind, data) {
            Some(problem) => Err(problem),
            None => Ok(SshKey {
                kind: kind.to_owned(),
                data: data.to_owned(),
                comment: words.collect::<Vec<_>>().join(" "),
            }),
        }
    }
}

fn key_problem(text: &str, kind: &str, data: &str) -> Option<&'static str> {
    const KINDS: [&str; 7] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    if text.trim().contains(['\n', '\r', '\0']) {
        return Some("a public key is one line");
    }
    if kind == "ssh-dss" {
        return Some("OpenSSH no longer takes DSA keys");
    }
    if !KINDS.contains(&kind) {
        return Some("not a public key: it begins with its type");
    }
    let Some(blob) = base64(data) else {
        return Some("the key is not base64: it was cut or changed");
    };
    // RFC 4253, section 6.6: the blob begins with the type as a string, and consists of strings.
    let mut fields = Vec::new();
    let mut rest = blob.as_slice();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((field, tail)) = tail.split_at_checked(length) else {
            return Some("the key ends too early: it was cut");
        };
        fields.push(field);
        rest = tail;
    }
    if !rest.is_empty() {
        return Some("the key ends too early: it was cut");
    }
    match (fields.first(), fields.get(1)) {
        (Some(name), _) if *name != kind.as_bytes() => {
            Some("the key is of another type than the line says")
        }
        (Some(_), Some(key)) if kind == "ssh-ed25519" && key.len() != 32 => {
            Some("the key has the wrong length")
        }
        (Some(_), Some(_)) => None,
        _ => Some("the key ends too early: it was cut"),
    }
}

/// RFC 4648 with padding; a small reader, since keys are all that needs it here.
fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 || body.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for b in body.bytes() {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

pub(super) fn file(raw: raw::File, f: &mut Findings) -> Option<File> {
    let path = file_path(raw.path, f);
    let content = match (raw.content, raw.source) {
        (Some(content), None) => {
            if private_key(&content).is_some() {
                let message = "a private key stands in the cluster file";
                let finding = Finding::error(Code::PrivateKey, content.position, &"", message);
                f.push(finding.hint("keep it in a file of its own and name that as `source`"));
            }
            Content::Text(content.value)
        }
        (None, Some(source)) => {
            let escapes = source.starts_with('/')
                || source.split('/').any(|part| part == "..")
                || source.is_empty();
            if escapes || source.contains('\0') {
                let message = "the source must lie in the cluster file's folder";
                f.push(
                    Finding::error(Code::FilePath, source.position, &source, message)
                        .hint("write `./files/name`"),
                );
            }
            Content::Source(source)
        }
        (content, _) => {
            let message = if content.is_some() {
                "`content` and `source` are both given"
            } else {
                "the file has no content"
            };
            f.push(
                Finding::error(Code::FileContent, path.position, &path, message)
                    .hint("give `content` or `source`"),
            );
            return None;
        }
    };
    Some(File {
        path,
        content,
        mode: mode(raw.mode, f)?,
        owner: owner(raw.owner, f),
    })
}

/// Where the agent will unpack it.
fn file_path(text: Text, f: &mut Findings) -> Text {
    let checked = text
        .strip_prefix('/')
        .ok_or(path::Error::Unclean)
        .and_then(|path| path::check_file(path.as_bytes()));
    if let Err(error) = checked {
        let finding = Finding::error(Code::FilePath, text.position, &text, error.to_string());
        f.push(Finding {
            hint: error.hint(),
            ..finding
        });
    }
    text
}

fn clean_path(text: &str) -> bool {
    text.strip_prefix('/')
        .is_some_and(|path| path::is_clean(path.as_bytes()) && !path.contains('\n'))
}

fn mode(text: Option<Text>, f: &mut Findings) -> Option<u32> {
    let Some(text) = text else { return Some(0o644) };
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(&text, 8).ok().filter(|_| digits);
    if mode.is_none() {
        let message = "not permissions in octal";
        f.push(
            Finding::error(Code::FileContent, text.position, &text, message)
                .hint("write \"0644\" or \"0600\""),
        );
    }
    mode
}

fn owner(text: Option<Text>, f: &mut Findings) -> Text {
    let Some(text) = text else {
        return Located::nowhere("root:root".to_owned());
    };
    let good = text.split_once(':').is_some_and(|(user, group)| {
        let mut ignored = Findings::new();
        group_name(Located::nowhere(user.to_owned()), &mut ignored);
        group_name(Located::nowhere(group.to_owned()), &mut ignored);
        ignored.is_empty()
    });
    if !good {
        f.push(
            Finding::error(Code::FileContent, text.position, &text, "not an owner")
                .hint("write `user:group`"),
        );
    }
    text
}
