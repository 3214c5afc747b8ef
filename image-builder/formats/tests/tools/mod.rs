//! Running the tools that judge our bytes.
#![expect(
    clippy::disallowed_methods,
    reason = "strangers judge the formats, and strangers read files"
)]
#![allow(dead_code, reason = "every test file uses another part of this")]

use std::io::Write;
use std::path::Path;
use std::process::Command;

use prejoin_formats::image::Image;
use prejoin_formats::tree::{Contents, NoContents};

/// Whether every tool is there. On CI a missing one is a failure; elsewhere it is said loudly.
pub(crate) fn have(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| Command::new(tool).arg("--version").output().is_err())
        .collect();
    skip_if(!missing.is_empty(), &format!("{missing:?} not found"))
}

/// Whether a test that needs `what` can go on.
pub(crate) fn skip_if(lacking: bool, what: &str) -> bool {
    if lacking {
        assert!(
            std::env::var_os("CI").is_none(),
            "{what}, and CI must run everything"
        );
        let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {what} ***\n");
    }
    !lacking
}

/// Runs a tool that must succeed; returns what it printed.
pub(crate) fn run(tool: &str, args: &[&str]) -> String {
    let (code, text) = run_any(tool, args);
    assert_eq!(code, Some(0), "{tool} {args:?} said:\n{text}");
    text
}

/// Runs a tool; returns its exit code and what it printed on both streams.
pub(crate) fn run_any(tool: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(tool)
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .output()
        .expect("starting the tool");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// All bytes of an image.
pub(crate) fn bytes(image: &Image, contents: &dyn Contents) -> Vec<u8> {
    let mut bytes = vec![0xaa; usize::try_from(image.size()).expect("test images are small")];
    image
        .read_at(contents, 0, &mut bytes)
        .expect("reading an image from memory");
    bytes
}

/// Writes an image that needs no contents to a file.
pub(crate) fn write(image: &Image, path: &Path) {
    std::fs::write(path, bytes(image, &NoContents)).expect("writing the image");
}

/// A loop device that is taken away when dropped.
pub(crate) struct Loop(pub(crate) String);

impl Loop {
    /// A loop device over `file`, or `None` where there is no right to have one.
    pub(crate) fn new(file: &Path, sector_size: u32) -> Option<Loop> {
        let size = sector_size.to_string();
        let file = file.to_str().expect("temporary names are text");
        let (code, text) = run_any(
            "losetup",
            &["--find", "--show", "--sector-size", &size, file],
        );
        skip_if(code != Some(0), &format!("no loop device: {text}"))
            .then(|| Loop(text.trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run_any("losetup", &["--detach", &self.0]);
    }
}

/// A small generator of repeatable noise (xorshift64*).
pub(crate) struct Noise(u64);

impl Noise {
    /// Starts a sequence.
    pub(crate) fn new(seed: u64) -> Self {
        Noise(seed | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }

    /// `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 56) as u8).collect()
    }

    /// Changes a few bytes, to nasty values as often as to random ones.
    pub(crate) fn spoil(&mut self, bytes: &mut [u8], times: usize) {
        for _ in 0..times {
            let at = self.below(bytes.len());
            bytes[at] = match self.below(6) {
                0 => 0,
                1 => 0xff,
                2 => 0x7f,
                3 => bytes[at].wrapping_add(1),
                _ => (self.next() >> 56) as u8,
            };
        }
    }
}
