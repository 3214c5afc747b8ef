//! Writes an exported raw image to a disk, if nothing speaks against it: everything that a node's agent links of this
//! crate, in the smallest program. Its size is what the crate costs the agent. FOLDER keeps the old tables and the journal.
//!
//! ```sh
//! cargo build --profile agent --target x86_64-unknown-linux-musl --package prejoin-disk --example install
//! install out/node1.manifest.json node.json node1.raw FOLDER /dev/disk/by-id/nvme-...
//! ```
#![expect(clippy::disallowed_methods, reason = "a tool on the command line")]

use std::{error::Error, fs, os::unix::fs::FileExt as _, path::PathBuf};

use prejoin_disk::plan::Image;
use prejoin_disk::session::{Session, Unattended};
use prejoin_disk::write::Chunks;
use prejoin_formats::gpt;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::{handoff::Handoff, manifest::Manifest, manifest::Range};

/// The chunks of a raw image, by the place that its manifest gives them.
struct Raw<'a>(&'a Manifest, fs::File);

impl Chunks for Raw<'_> {
    fn read(
        &self,
        wanted: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let is_it = |range: &Range| matches!(range, Range::Data { digest, .. } if digest == wanted);
        let mut found = self.0.placed().filter(|(_, range)| is_it(range));
        let (place, _) = found.next().ok_or("the image has no such chunk")?;
        Ok(self.1.read_exact_at(into, place)?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [manifest, node, raw, folder, disk] = &arguments[..] else {
        return Err("MANIFEST NODE.JSON RAW FOLDER DISK".into());
    };
    let manifest = Manifest::parse(&fs::read(manifest)?)?;
    let raw = Raw(&manifest, fs::File::open(raw)?);
    let read = |at, into: &mut [u8]| raw.1.read_exact_at(into, at);
    let image = Image {
        manifest: &manifest,
        digest: Digest::of(manifest.to_json().as_bytes()),
        table: &gpt::read(read, manifest.size, manifest.sector_size)?.table,
        handoff: &Handoff::parse(&fs::read(node)?)?,
    };
    let session = Session::new(image, &raw, folder);
    let looked = session.hold(disk)?;
    let intent = looked.usual_intent();
    let mut judged = looked.judge(intent);
    serde_json::to_writer(std::io::stdout(), judged.report())?;
    let written = judged.agree(&Unattended)?.write(&Unattended)?;
    Ok(serde_json::to_writer(std::io::stdout(), &written.report)?)
}
