//! Kernel command line arguments that a board or a cluster file adds to those of the image.

/// Bytes of a command line that kernels for both architectures take, with the zero at its end
/// (`COMMAND_LINE_SIZE`; `arch/x86/include/asm/setup.h`, `arch/arm64/include/uapi/asm/setup.h`). They cut off the rest
/// without a word.
pub const COMMAND_LINE_SIZE: usize = 2048;

/// Bytes of it that are not for kernel arguments of a board or cluster file: what the image itself needs (about 290), and
/// what the firmware of a Raspberry Pi puts in front.
const RESERVED: usize = 768;

/// Longest that all arguments of a node may be together, with a space before each.
pub const LONGEST: usize = COMMAND_LINE_SIZE - RESERVED;

/// Names that say what is booted: the image's own, or nobody's.
const TAKEN: [&str; 13] = [
    "init",
    "initrd",
    "prejoin.fallback",
    "prejoin.identity",
    "prejoin.slot",
    "prejoin.verity",
    "rdinit",
    "ro",
    "root",
    "rootflags",
    "rootfstype",
    "roothash",
    "rw",
];

/// Options of the agent that anybody may set, and their values; without any it is a number.
const AGENT: [(&str, &[&str]); 4] = [
    ("prejoin.corruption", &["error", "restart", "panic"]),
    ("prejoin.fsck", &["repair"]),
    ("prejoin.rescue", &["reboot", "wait"]),
    ("prejoin.wait", &[]),
];

/// Bytes that arguments take on a command line.
pub fn length<'a>(arguments: impl IntoIterator<Item = &'a str>) -> usize {
    arguments
        .into_iter()
        .map(|argument| argument.len() + 1)
        .sum()
}

/// What is wrong with an argument, as a lower-case fragment, and what to do about it.
pub fn problem(argument: &str) -> Option<(String, &'static str)> {
    if !argument.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let message = "a kernel argument is one line of plain ASCII".to_owned();
        return Some((message, "put each argument into an item of its own"));
    }
    // As the kernel splits words (`lib/cmdline.c`, `next_arg`).
    let mut quoted = false;
    let is_split = argument.bytes().any(|byte| {
        quoted ^= byte == b'"';
        byte == b' ' && !quoted
    });
    if argument.is_empty() || is_split || quoted || argument == "--" {
        let message = "a kernel argument is one word: `name`, `name=value` or `module.name=value`";
        return Some((
            message.to_owned(),
            "put each argument into an item of its own, and a value with spaces into double quotes",
        ));
    }
    let plain = argument.replace('"', "");
    let (name, value) = plain.split_once('=').unwrap_or((&plain, ""));
    if TAKEN.contains(&name) {
        let message = format!("`{name}` says what is booted, which is the image's");
        return Some((message, "leave it out"));
    }
    if !name.starts_with("prejoin.") {
        return None;
    }
    let Some((_, values)) = AGENT.iter().find(|(known, _)| *known == name) else {
        let message = format!("there is no option `{name}`");
        return Some((message, "docs/nodes.md lists the options of the agent"));
    };
    let fits = match values {
        [] => value.parse::<u16>().is_ok_and(|seconds| seconds <= 3600),
        values => values.contains(&value),
    };
    (!fits).then(|| {
        let values = match values {
            [] => "a number of seconds up to 3600".to_owned(),
            values => values.join(", "),
        };
        let message = format!("`{name}` is one of: {values}");
        (message, "docs/nodes.md lists the options of the agent")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_words_that_change_nothing_of_the_image() {
        for good in [
            "quiet",
            "loop.max_loop=16",
            "usb-storage.quirks=152d:0578:u",
            "dyndbg=\"file drivers/usb/* +p\"",
            "console=ttyS1,115200",
            "systemd.unit=rescue.target",
            "prejoin.wait=120",
            "prejoin.fsck=repair",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [
            "",
            "a b",
            "a\nb",
            "a\"b c",
            "é",
            "\u{1b}[2J",
            "--",
            "root=/dev/sda1",
            "\"root=/dev/sda1\"",
            "roothash=0",
            "rw",
            "init=/bin/sh",
            "rdinit=/bin/sh",
            "prejoin.slot=b",
            "prejoin.wait=soon",
            "prejoin.wait=3601",
            "prejoin.rescue=shell",
            "prejoin.colour=blue",
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
        assert_eq!(length(["quiet", "a=b"]), 10);
    }
}
