//! What `modprobe.d(5)` and the kernel command line say about modules, as far as it concerns one that is loaded by
//! name: its parameters, and whether it is to be left out.
//!
//! The kernel hands out parameters on its command line to what is built in; those of modules are for whoever loads them
//! (kmod does: `libkmod/libkmod-config.c`). Commands other than `options`, `blacklist` and `install` are ignored:
//! aliases and dependencies are resolved when the list of modules is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Commands of `install` that stand for "do not load it".
const NOTHING: [&str; 7] = [
    ":",
    "true",
    "false",
    "/bin/true",
    "/bin/false",
    "/usr/bin/true",
    "/usr/bin/false",
];

/// What is known about modules, by their names with underscores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    parameters: BTreeMap<String, Vec<String>>,
    left_out: BTreeSet<String>,
}

impl Config {
    /// Adds what a file of `modprobe.d` says. A file that comes later wins, as parameters that come later do.
    pub fn add_file(&mut self, text: &str) {
        // The kernel takes parameters to the first zero.
        for line in text.replace('\0', "").replace("\\\n", " ").lines() {
            let line = line.trim_end_matches(|c: char| c == '\\' || c.is_ascii_whitespace());
            let Some((command, rest)) = split(line) else {
                continue;
            };
            let Some((name, rest)) = split(rest) else {
                continue;
            };
            if name.contains('\\') {
                continue;
            }
            let name = plain(name);
            match command {
                "options" if !rest.is_empty() => self.add(name, rest.to_owned()),
                "blacklist" => self.leave_out(name),
                "install" if split(rest).is_some_and(|(first, _)| NOTHING.contains(&first)) => {
                    self.leave_out(name);
                }
                _ => {}
            }
        }
    }

    /// Adds what the words of a kernel command line say, without their quotes.
    pub fn add_command_line<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        for word in words {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (word, None),
            };
            let list = || {
                value
                    .unwrap_or_default()
                    .split(',')
                    .filter(|n| !n.is_empty())
            };
            if matches!(key, "modprobe.blacklist" | "module_blacklist") {
                list().for_each(|name| self.leave_out(plain(name)));
                continue;
            }
            let Some((module, parameter)) = key.split_once('.') else {
                continue;
            };
            if module.is_empty() || parameter.is_empty() {
                continue;
            }
            // Quoted again: the kernel splits the parameters once more.
            let text = match value {
                None => parameter.to_owned(),
                Some(value) if value.contains(|c: char| c.is_ascii_whitespace()) => {
                    format!("{parameter}=\"{value}\"")
                }
                Some(value) => format!("{parameter}={value}"),
            };
            self.add(plain(module), text);
        }
    }

    /// The parameters of a module, as the kernel takes them.
    pub fn parameters(&self, module: &str) -> String {
        let all = self.parameters.get(&plain(module));
        all.map(|all| all.join(" ")).unwrap_or_default()
    }

    /// Whether a module is not to be loaded.
    pub fn is_left_out(&self, module: &str) -> bool {
        self.left_out.contains(&plain(module))
    }

    /// What it says about some modules, as a file of `modprobe.d`; empty if nothing.
    pub fn about<'a>(&self, modules: impl IntoIterator<Item = &'a str>) -> String {
        let mut text = String::new();
        for module in modules {
            let module = plain(module);
            if self.left_out.contains(&module) {
                let _ = writeln!(text, "blacklist {module}");
            }
            for parameters in self.parameters.get(&module).into_iter().flatten() {
                let _ = writeln!(text, "options {module} {parameters}");
            }
        }
        text
    }

    fn add(&mut self, module: String, parameters: String) {
        let known = self.parameters.entry(module).or_default();
        known.push(parameters.replace('\0', ""));
    }

    fn leave_out(&mut self, module: String) {
        self.left_out.insert(module);
    }
}

/// The first word of a line, and the rest; none of a comment or an empty line.
fn split(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_ascii();
    let end = line.find(|c: char| c.is_ascii_whitespace());
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    (!word.is_empty() && !word.starts_with('#')).then_some((word, rest.trim_ascii()))
}

/// A module's name as the kernel has it: `-` and `_` are the same there.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# what our machines need\n\
        options usb-storage quirks=152d:0578:u \\\n  delay_use=2\n\
        options usb_storage delay_use=3\n\
        \toptions\tloop  max_loop=16\t\n\
        blacklist uas\n\
        install pcspkr /bin/true --quiet\n\
        install igb /sbin/modprobe --ignore-install igb\n\
        softdep nvme pre: vmd\nalias net-pf-10 off\noptions\noptions loop\nblacklist\n";

    #[test]
    fn files_give_parameters_and_leave_out() {
        let mut config = Config::default();
        config.add_file(FILE);
        assert_eq!(
            config.parameters("usb-storage"),
            "quirks=152d:0578:u    delay_use=2 delay_use=3"
        );
        assert_eq!(config.parameters("loop"), "max_loop=16");
        assert_eq!(config.parameters("uas"), "");
        let left_out = ["uas", "pcspkr", "igb", "nvme"].map(|name| config.is_left_out(name));
        assert_eq!(left_out, [true, true, false, false]);
        let about = config.about(["uas", "loop", "nvme"]);
        assert_eq!(about, "blacklist uas\noptions loop max_loop=16\n");
        let mut again = Config::default();
        again.add_file(&about);
        assert_eq!(again.about(["uas", "loop", "nvme"]), about);
        assert!(again.is_left_out("uas"));
    }

    #[test]
    fn the_command_line_comes_last() {
        let mut config = Config::default();
        config.add_file(FILE);
        config.add_command_line([
            "quiet",
            "root=PARTUUID=a.b",
            "usb_storage.delay_use=5",
            "loop.max_part",
            "dm-verity.prefetch_cluster=0",
            "sd_mod.text=a b",
            "modprobe.blacklist=r8169,,igc",
            "module_blacklist=e1000e",
            ".x=1",
            "x.=1",
        ]);
        let parameters = config.parameters("usb_storage");
        assert!(
            parameters.ends_with("delay_use=3 delay_use=5"),
            "{parameters}"
        );
        assert_eq!(config.parameters("loop"), "max_loop=16 max_part");
        assert_eq!(config.parameters("dm_verity"), "prefetch_cluster=0");
        assert_eq!(config.parameters("sd-mod"), "text=\"a b\"");
        assert_eq!(config.parameters("x"), "");
        let left_out = ["r8169", "igc", "e1000e", "root=PARTUUID=a"];
        assert_eq!(
            left_out.map(|name| config.is_left_out(name)),
            [true, true, true, false]
        );
    }
}
