//! Unpacks a folder of `.deb` files, applies every fix-up, and prints what they did, with the times of each step.
//!
//! `cargo run --release -p prejoin-image-builder --example fixups -- <folder of .deb> <cache> <os> <architecture> [out.tar]`
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring tool on the command line"
)]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use prejoin_formats::tree::{Contents, Kind, Tree};
use prejoin_image_builder::debian::deb::{self, Limits};
use prejoin_image_builder::io::known::Known;
use prejoin_image_builder::io::unpack::{Deb, unpack};
use prejoin_image_builder::tree::assemble::{Filter, assemble};
use prejoin_image_builder::tree::fixups::{self, Context, Root};
use prejoin_profiles::os::Os;
use prejoin_wire::digest::Digest;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, cache, os, architecture, out @ ..] = arguments.as_slice() else {
        return Err("usage: fixups <folder of .deb> <cache> <os> <architecture> [out.tar]".into());
    };
    let os = Os::built_in(os)?;
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    let mut debs = Vec::new();
    for path in paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "deb"))
    {
        let bytes = std::fs::read(&path)?;
        let (sha256, limits) = (Digest::of(&bytes), Limits::default());
        let name = deb::read_control(bytes.as_slice(), &limits)?.id();
        debs.push(Deb { path, sha256, name });
    }
    let unpacked = unpack(
        &debs,
        Path::new(cache),
        &Known::default(),
        &Limits::default(),
        &|_| {},
    )?;
    let packages: Vec<_> = unpacked.packages.iter().collect();
    let filter = Filter::of_system(&os, &[], &packages);
    let tree = assemble(&packages, &filter)?.tree;
    println!("{} packages, {}", packages.len(), size(&tree));
    let epoch = 1_763_000_000;
    let context = Context {
        os: &os,
        board: "board",
        architecture: architecture.parse()?,
        epoch,
        packages: &packages,
    };
    let mut root = Root::new(tree, &unpacked.store, epoch);
    let start = Instant::now();
    let applied = fixups::apply(&mut root, &context).map_err(|error| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause} ({})", error.hint().unwrap_or_default())
    })?;
    println!("fixed up in {:?}", start.elapsed());
    for rule in &applied {
        println!("{:>6} changes by {}", rule.changes.len(), rule.rule);
    }
    let tree = root.into_tree();
    println!("{}", size(&tree));
    if let [out, ..] = out {
        write(&tree, &unpacked.store, out)?;
    }
    Ok(())
}

fn size(tree: &Tree) -> String {
    let bytes = tree.iter().map(|(_, entry)| {
        if let Kind::File(content) = &entry.kind {
            content.len()
        } else {
            0
        }
    });
    format!("{} paths, {} MiB", tree.len(), bytes.sum::<u64>() >> 20)
}

/// A tar file, for looking at the result with other tools.
fn write(tree: &Tree, contents: &dyn Contents, out: &str) -> Result<(), Box<dyn Error>> {
    let mut archive = tar::Builder::new(std::fs::File::create(out)?);
    for (path, entry) in tree.iter().skip(1) {
        let path = std::str::from_utf8(path)?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode.into());
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(entry.mtime.max(0).unsigned_abs());
        header.set_size(0);
        match &entry.kind {
            Kind::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Kind::File(content) => {
                header.set_size(content.len());
                archive.append_data(&mut header, path, content.read(contents)?.as_slice())?;
            }
            Kind::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, path, std::str::from_utf8(target)?)?;
            }
            Kind::HardLink(target) => {
                header.set_entry_type(tar::EntryType::Link);
                archive.append_link(&mut header, path, std::str::from_utf8(target)?)?;
            }
            Kind::Device { .. } | Kind::Fifo => {}
        }
    }
    Ok(archive.finish()?)
}
