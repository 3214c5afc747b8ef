//! The program as a user meets it: exit code, stdout and stderr together, compared with golden text under `golden/`.
//! What varies (folders, digests, sizes, times) is replaced by its name. `PREJOIN_BLESS=1` rewrites the golden text.
//!
//! No network is used. A signed Debian archive of a tiny distribution is made with Debian's own tools ([`archive`],
//! [`tiny`]), served from files or from a server that misbehaves on demand, and built in less than a second.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests run programs and write files"
)]
#![expect(unreachable_pub, reason = "a test has no public names")]

mod archive;
mod disk;
mod elsewhere;
mod export;
mod flash;
mod fleet;
mod forged;
mod hostile;
mod id;
mod interrupted;
mod kernel;
mod leftovers;
#[path = "../../image-builder/tests/made/mod.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod made;
mod mirrors;
mod output;
mod programs;
mod raspios;
mod same;
mod scripts;
#[path = "../../image-builder/tests/repository/server.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod server;
mod session;
mod sources;
mod tiny;
mod words;
