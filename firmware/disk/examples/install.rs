//! Writes an exported raw image to a disk, if nothing speaks against it: everything that a node's agent links of this
//! crate, in the smallest program. Its size is what the crate costs the agent.
//!
//! ```sh
//! cargo build --profile agent --target x86_64-unknown-linux-musl --package prejoin-disk --example install
//! install out/node1.manifest.json node.json node1.raw /dev/sda
//! ```
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a tool on the command line"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use prejoin_disk::guard::Guarded;
use prejoin_disk::io::target::{self, Target};
use prejoin_disk::io::{inventory, usage};
use prejoin_disk::judge::{Intent, judge};
use prejoin_disk::plan::{self, Image};
use prejoin_disk::probe::probe;
use prejoin_disk::write::{self, Chunks, Job};
use prejoin_formats::gpt;
use prejoin_wire::digest::{ChunkDigest, Digest};
use prejoin_wire::disk::{Facts, VERSION, Verdict};
use prejoin_wire::handoff::Handoff;
use prejoin_wire::manifest::{Manifest, Range};

/// The chunks of a raw image, by the place that its manifest gives them.
struct Raw {
    file: File,
    places: BTreeMap<ChunkDigest, u64>,
}

impl Chunks for Raw {
    fn read(
        &self,
        digest: &ChunkDigest,
        into: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let place = self
            .places
            .get(digest)
            .ok_or("the image has no such chunk")?;
        Ok(self.file.read_exact_at(into, *place)?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [manifest, node, raw, disk] = &arguments[..] else {
        return Err("MANIFEST NODE.JSON RAW DISK".into());
    };
    let manifest = Manifest::parse(&fs::read(manifest)?)?;
    let handoff = Handoff::parse(&fs::read(node)?)?;
    let file = File::open(raw)?;
    let read = |offset, buffer: &mut [u8]| file.read_exact_at(buffer, offset);
    let table = gpt::read(read, manifest.size, manifest.sector_size)?.table;
    let digest = Digest::of(manifest.to_json().as_bytes());
    let image = Image {
        manifest: &manifest,
        digest,
        table: &table,
        handoff: &handoff,
    };

    let device = inventory::device(disk)?;
    let users = usage::usage(&device);
    let target = Target::open(disk, &target::Options::default())?;
    let content = probe(
        &target,
        device.size,
        device.sector_size.max(manifest.sector_size),
    );
    let facts = Facts {
        version: VERSION,
        device,
        usage: users,
        content,
    };
    let intent = Intent {
        node: manifest.node.clone(),
        ..Intent::default()
    };
    let report = judge(&facts, &intent, &image);
    for finding in &report.findings {
        println!(
            "{:?} {}: {}",
            finding.severity, finding.code, finding.evidence
        );
    }
    let plan = report
        .plan
        .filter(|_| report.verdict == Verdict::Ok)
        .ok_or("not without a question")?;
    let guarded = Guarded::new(&target, plan::writes(&plan));
    let place = |(offset, range)| match range {
        Range::Data { digest, .. } => Some((digest, offset)),
        Range::Zero { .. } | Range::Skip { .. } => None,
    };
    let places = manifest.placed().filter_map(place).collect();
    let job = Job {
        plan: &plan,
        manifest: &manifest,
        chunks: &Raw { file, places },
        disk: &guarded,
        journal: None,
        options: write::Options::default(),
        events: &|_| (),
    };
    println!("{}", serde_json::to_string(&write::write(&job)?)?);
    Ok(())
}
