//! Writes a node's image to a disk, if nothing speaks against it: the shortest honest installer. Nobody is asked, so that
//! whatever would need an answer refuses. FOLDER keeps the old tables and the journal.
//!
//! ```sh
//! cargo run --release --package prejoin-disk --example install -- out NODE FOLDER /dev/disk/by-id/nvme-...
//! ```

use std::error::Error;
use std::path::PathBuf;

use prejoin_disk::plan::Image;
use prejoin_disk::session::{Session, Unattended};
use prejoin_disk::write::Chunks;
use prejoin_store::{chunks::ChunkStore, folder, hold::Hold};
use prejoin_wire::digest::{ChunkDigest, Digest};

/// The chunks of an output folder.
struct Stored<'a>(&'a ChunkStore);

impl Chunks for Stored<'_> {
    fn read(
        &self,
        digest: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        into.copy_from_slice(&self.0.read(digest, into.len() as u64)?);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [out, node, folder, disk] = &arguments[..] else {
        return Err("OUT NODE FOLDER DISK".into());
    };
    let name = node.to_str().ok_or("a node's name is ASCII")?;
    let opened = folder::open(out, name, Hold::shared(out, |_| {}))?;
    let image = Image {
        manifest: &opened.image,
        digest: Digest::of(opened.image.to_json().as_bytes()),
        table: &opened.table,
        handoff: &opened.node.handoff,
    };
    let chunks = Stored(&opened.store);
    let session = Session::new(image, &chunks, folder);
    let looked = session.hold(disk)?;
    let intent = looked.usual_intent();
    let mut judged = looked.judge(intent);
    serde_json::to_writer(std::io::stdout(), judged.report())?;
    let written = judged.agree(&Unattended)?.write(&Unattended)?;
    Ok(serde_json::to_writer(std::io::stdout(), &written.report)?)
}
