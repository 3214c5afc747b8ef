//! The initramfs: small, with a static first program, and with nothing that is not in the golden list.

use std::fs;

use crate::cluster::{NODES, lab};
use crate::firmware::unified_kernel;
use crate::tools::{absent, checked, folder, golden, line, piped, say, tool};

/// Largest that it may be, compressed and without microcode.
const LIMIT: usize = 8 << 20;
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[test]
fn it_is_small_and_has_these_files() {
    let Some(lab) = lab() else { return };
    if absent(&["mdir", "mcopy", "cpio", "zstd", "readelf"]) {
        return;
    }
    let mut text = String::new();
    for node in NODES {
        let bytes = if node.starts_with("pi") {
            lab.read(node, "boot", "initramfs.img")
        } else {
            let Some((_, sections)) = unified_kernel(lab, node) else {
                return;
            };
            fs::read(sections.join(".initrd")).unwrap()
        };
        let at = bytes.windows(4).position(|window| window == ZSTD).unwrap();
        let (microcode, main) = bytes.split_at(at);
        say(&format!(
            "{node}: initramfs {} KiB, microcode {} KiB",
            main.len() >> 10,
            microcode.len() >> 10
        ));
        assert!(main.len() <= LIMIT, "{node}: {} bytes", main.len());
        text.push_str(&format!("== {node}\n"));
        if !microcode.is_empty() {
            text.push_str(&listing(microcode));
        }
        let archive = piped(tool("zstd").args(["-d", "-c", "-q"]), main);
        text.push_str(&listing(&archive));
        judge_content(node, &archive);
    }
    golden("image/golden/initramfs.txt", &text);
}

/// Mode, owner and name of every file, as cpio reads them.
fn listing(archive: &[u8]) -> String {
    let said = String::from_utf8(piped(tool("cpio").args(["-itv", "--quiet"]), archive)).unwrap();
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Mode, links, owner, group, size, three words of time, name.
        format!(
            "{} {}:{} {}\n",
            words[0],
            words[2],
            words[3],
            words[8..].join(" ")
        )
    };
    said.lines().map(line).collect()
}

fn judge_content(node: &str, archive: &[u8]) {
    let to = folder(&format!("initramfs/{node}"));
    fs::remove_dir_all(&to).unwrap();
    fs::create_dir_all(&to).unwrap();
    piped(
        tool("cpio").args(["-idm", "--quiet", "-D"]).arg(&to),
        archive,
    );
    let init = to.join("init");
    let said = checked(&mut line("readelf -h -l {}", &[&init]));
    assert!(
        !said.contains("INTERP"),
        "{node}: the agent needs an interpreter\n{said}"
    );
    let machine = if node == "pc" { "X86-64" } else { "AArch64" };
    assert!(said.contains(machine), "{node}: {said}");
    let list = fs::read_to_string(to.join("modules.list")).unwrap();
    assert!(list.lines().count() > 10, "{node}: {list}");
    for path in list.lines() {
        let module = fs::read(to.join(path.trim_start_matches('/')))
            .unwrap_or_else(|e| panic!("{node} {path}: {e}"));
        assert_eq!(&module[..4], b"\x7fELF", "{node} {path}");
    }
}
