//! The kernel command line.

use std::time::Duration;

use prejoin_formats::verity::Hash;
use prejoin_wire::digest::Digest;
use prejoin_wire::role::Slot;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Which system is to be booted, and what it must contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `roothash=`: dm-verity's root hash of the root file system.
    pub(crate) root_hash: Hash,
    /// `prejoin.slot=`: which of the two places for a system this is.
    pub(crate) slot: Slot,
    /// The partitions to boot from, where the line is one node's own (Raspberry Pi). A line that a whole fleet shares names
    /// none: the firmware says what it was loaded from.
    pub(crate) named: Option<Named>,
}

/// The partitions of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// `root=PARTUUID=`: the root partition; the disk it is on is the node's disk.
    pub(crate) root: Uuid,
    /// `prejoin.verity=PARTUUID=`: its hashes.
    pub(crate) verity: Uuid,
    /// `prejoin.identity=PARTUUID=`: the node's documents.
    pub(crate) identity: Uuid,
}

/// How to behave; every option has a default and no value is fatal, for these are needed to report a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `prejoin.rescue=reboot`: restart a minute after a failure instead of waiting for somebody.
    pub(crate) reboot: bool,
    /// `prejoin.fallback=1`: the boot loader counts tries; on failure restart soon, so that it takes the other slot.
    pub(crate) fallback: bool,
    /// `prejoin.corruption=`: what the kernel does about a block of the root partition that does not match its hash.
    pub(crate) corruption: Corruption,
    /// `prejoin.fsck=repair`: let the file system check of the state partition repair what needs a decision.
    pub(crate) repair: bool,
    /// `prejoin.wait=`: seconds to wait for the disk.
    pub(crate) wait: Duration,
    /// `console=`: device names without `/dev/`.
    pub(crate) consoles: Vec<String>,
    /// Options that begin with `prejoin.` and are not understood, to be reported.
    pub(crate) unknown: Vec<String>,
}

/// What the kernel does about a corrupted block of the root partition. It is never handed out in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Corruption {
    /// Reading it fails; whatever needed it fails, the rest goes on.
    #[default]
    Error,
    /// The machine restarts at once, which lets boot counting take the other slot.
    Restart,
    /// The kernel panics: a message on the console, and a restart if `panic=` says so.
    Panic,
}

/// A command line that does not say what to boot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// An option is missing.
    #[error("the kernel command line has no {0}")]
    Missing(&'static str),
    /// An option has a value of another form.
    #[error("the kernel command line has {option}{value}, which is not {expected}")]
    Invalid {
        option: &'static str,
        value: String,
        expected: &'static str,
    },
}

/// How long the disk may take to appear: USB disks and slow controllers need up to half a minute.
const WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: u64 = 3600;

impl Target {
    /// Reads what to boot off the command line.
    pub(crate) fn parse(line: &str) -> Result<Self, Error> {
        let names = ["root=", "prejoin.verity=", "prejoin.identity="];
        let named = match names.iter().any(|name| value(line, name).is_some()) {
            false => None,
            true => Some(Named {
                root: partition(line, "root=")?,
                verity: partition(line, "prejoin.verity=")?,
                identity: partition(line, "prejoin.identity=")?,
            }),
        };
        let hash = value(line, "roothash=").ok_or(Error::Missing("roothash="))?;
        let root_hash: Digest = hash
            .parse()
            .map_err(|_| invalid("roothash=", &hash, "64 hexadecimal digits"))?;
        let slot = value(line, "prejoin.slot=").unwrap_or_else(|| "a".to_owned());
        let slot = match slot.as_str() {
            "a" => Slot::A,
            "b" => Slot::B,
            _ => return Err(invalid("prejoin.slot=", &slot, "a or b")),
        };
        Ok(Target {
            root_hash: root_hash.0,
            slot,
            named,
        })
    }
}

/// The partition that an option names by its GUID.
fn partition(line: &str, option: &'static str) -> Result<Uuid, Error> {
    let text = value(line, option).ok_or(Error::Missing(option))?;
    let guid = text
        .strip_prefix("PARTUUID=")
        .and_then(|text| text.parse::<Hyphenated>().ok())
        .map(Hyphenated::into_uuid)
        .filter(|guid| !guid.is_nil());
    guid.ok_or_else(|| invalid(option, &text, "PARTUUID= and the GUID of a partition"))
}

fn invalid(option: &'static str, value: &str, expected: &'static str) -> Error {
    Error::Invalid {
        option,
        value: value.chars().take(80).collect(),
        expected,
    }
}

impl Options {
    /// Reads the options off the command line.
    pub(crate) fn parse(line: &str) -> Self {
        let mut options = Options::default();
        for word in words(line) {
            if let Some(console) = word.strip_prefix("console=") {
                let name = console.split(',').next().unwrap_or_default();
                let plain =
                    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
                if plain && !options.consoles.iter().any(|known| known == name) {
                    options.consoles.push(name.to_owned());
                }
            } else if let Some(option) = word.strip_prefix("prejoin.")
                && !options.take(option)
            {
                options.unknown.push(word);
            }
        }
        options
    }

    fn take(&mut self, option: &str) -> bool {
        match option.split_once('=').unwrap_or((option, "")) {
            ("slot" | "verity" | "identity", _) => {}
            ("rescue", "reboot") => self.reboot = true,
            ("rescue", "wait") => self.reboot = false,
            ("fallback", "1") => self.fallback = true,
            ("fallback", "0") => self.fallback = false,
            ("corruption", "error") => self.corruption = Corruption::Error,
            ("corruption", "restart") => self.corruption = Corruption::Restart,
            ("corruption", "panic") => self.corruption = Corruption::Panic,
            ("fsck", "repair") => self.repair = true,
            ("wait", seconds) => match seconds.parse() {
                Ok(seconds @ 0..=LONGEST_WAIT) => self.wait = Duration::from_secs(seconds),
                _ => return false,
            },
            _ => return false,
        }
        true
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            reboot: false,
            fallback: false,
            corruption: Corruption::default(),
            repair: false,
            wait: WAIT,
            consoles: Vec::new(),
            unknown: Vec::new(),
        }
    }
}

/// The value of the last word that begins with `option`: what is appended by hand wins.
fn value(line: &str, option: &str) -> Option<String> {
    words(line)
        .iter()
        .rev()
        .find_map(|word| word.strip_prefix(option).map(str::to_owned))
}

/// Words as the kernel splits them (`lib/cmdline.c`, `next_arg`): at white space outside double quotes, which go away.
/// What follows a lone `--` is meant for process 1 and holds no options.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for letter in line.trim_ascii_end().chars() {
        match letter {
            '"' => quoted = !quoted,
            letter if letter.is_ascii_whitespace() && !quoted => {
                if word == "--" {
                    return words;
                }
                words.push(std::mem::take(&mut word));
            }
            letter => word.push(letter),
        }
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "root=PARTUUID=0C6FA1C1-0000-4000-8000-000000000002 \
        roothash=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad \
        prejoin.verity=PARTUUID=0c6fa1c1-0000-4000-8000-000000000003 \
        prejoin.identity=PARTUUID=0c6fa1c1-0000-4000-8000-000000000006 prejoin.slot=b ro console=tty0 \
        console=ttyS0,115200n8 console=tty0 prejoin.wait=5 quiet\n";

    #[test]
    fn says_what_to_boot() {
        let target = Target::parse(LINE).unwrap();
        let named = target.named.unwrap();
        assert_eq!(
            named.root.to_string(),
            "0c6fa1c1-0000-4000-8000-000000000002"
        );
        assert_eq!(
            (target.root_hash[0], target.root_hash[31], target.slot),
            (0xba, 0xad, Slot::B)
        );
        let last = |guid: Uuid| guid.as_bytes()[15];
        assert_eq!((last(named.verity), last(named.identity)), (3, 6));
        assert_eq!(
            Target::parse(&LINE.replace("prejoin.slot=b", ""))
                .unwrap()
                .slot,
            Slot::A
        );
        let appended = format!("{LINE} prejoin.slot=a -- prejoin.slot=b");
        assert_eq!(Target::parse(&appended).unwrap().slot, Slot::A);
        let (_, hash) = LINE.split_once(" roothash=").unwrap();
        let fleet = format!("roothash={} prejoin.slot=b ro", &hash[..64]);
        let target = Target::parse(&fleet).unwrap();
        assert_eq!((target.slot, target.named), (Slot::B, None));
    }

    #[test]
    fn refuses_what_does_not() {
        assert_eq!(Target::parse(""), Err(Error::Missing("roothash=")));
        let part = "prejoin.verity=PARTUUID=0c6fa1c1-0000-4000-8000-000000000003";
        assert_eq!(Target::parse(part), Err(Error::Missing("root=")));
        assert!(matches!(
            Target::parse("root=/dev/sda2"),
            Err(Error::Invalid {
                option: "root=",
                ..
            })
        ));
        let nil = LINE.replace(
            "0C6FA1C1-0000-4000-8000-000000000002",
            "00000000-0000-0000-0000-000000000000",
        );
        assert!(matches!(
            Target::parse(&nil),
            Err(Error::Invalid {
                option: "root=",
                ..
            })
        ));
        assert_eq!(
            Target::parse(&LINE.replace("roothash", "hash")),
            Err(Error::Missing("roothash="))
        );
        assert_eq!(
            Target::parse(&LINE.replace("prejoin.verity", "prejoin.hashes")),
            Err(Error::Missing("prejoin.verity="))
        );
        assert!(matches!(
            Target::parse(&LINE.replace("prejoin.identity=PARTUUID=", "prejoin.identity=")),
            Err(Error::Invalid {
                option: "prejoin.identity=",
                ..
            })
        ));
        assert!(Target::parse(&LINE.replace("20015ad", "20015a")).is_err());
        let error = Target::parse(&LINE.replace("slot=b", "slot=c")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel command line has prejoin.slot=c, which is not a or b"
        );
    }

    #[test]
    fn options_never_fail() {
        let options = Options::parse(LINE);
        assert_eq!(options.consoles, ["tty0", "ttyS0"]);
        assert_eq!(
            (options.wait, options.reboot),
            (Duration::from_secs(5), false)
        );
        let odd = Options::parse(
            "prejoin.wait=-1 prejoin.rescue=reboot prejoin.colour=blue prejoin.fallback=1 \
             console=../../etc/passwd console= prejoin.corruption=panic prejoin.fsck=repair \"prejoin.x=a b",
        );
        assert_eq!(
            odd.unknown,
            ["prejoin.wait=-1", "prejoin.colour=blue", "prejoin.x=a b"]
        );
        assert!(odd.reboot && odd.fallback && odd.repair && odd.consoles.is_empty());
        assert_eq!((odd.corruption, odd.wait), (Corruption::Panic, WAIT));
    }
}
