//! What a session ends with, as a failure: its class or exit code, and what the user can do.

use std::io;

use prejoin_disk::io::{Failed, keep};
use prejoin_disk::session::{Error, Stopped};
use prejoin_disk::write;
use prejoin_image_builder::class::Class;
use prejoin_store::chunks::{self, ChunkStore};
use prejoin_wire::disk::Code;

use super::exit;
use super::image::Image;
use crate::command::disk::look;
use crate::command::verify;
use crate::failure::Failure;
use crate::picture;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        failure(&error)
    }
}

/// A disk that was not written to its end.
pub(crate) fn stopped(stopped: &Stopped, image: &Image) -> Failure {
    let failure = match &*stopped.error {
        Error::Write(error) => failed(error, &image.manifest.node, &image.store),
        error => failure(error),
    };
    match stopped.has_begun {
        true => midway(failure),
        false => failure,
    }
}

/// The same failure after something was written: no longer a refusal, which says that nothing was.
pub(crate) fn midway(failure: Failure) -> Failure {
    match failure.number() {
        exit::REFUSED => failure.exit(exit::DISK),
        _ => failure,
    }
}

fn failure(error: &Error) -> Failure {
    let of = |class| Failure::new(class, error).hint(error.hint());
    match error {
        Error::Disk(error) => look::unusable(error),
        Error::Write(error) => restored(error),
        Error::Chunk { node, source } => match source.downcast_ref::<chunks::Error>() {
            Some(error) => verify::damage(error, node),
            None => of(Class::Integrity),
        },
        Error::NoFolder => Failure::plain(
            Class::Environment,
            "finding a folder for saved tables: neither XDG_STATE_HOME nor HOME is set",
        )
        .hint(error.hint()),
        Error::InUse { disk, user } => Failure::plain(
            Class::Input,
            format!("{disk} is in use: {}", picture::usage(user)),
        )
        .exit(exit::REFUSED),
        Error::Keep(keep::Error::Edited { .. }) => of(Class::Input).exit(exit::REFUSED),
        Error::Keep(keep::Error::Parse { .. }) => of(Class::Input),
        Error::Keep(keep::Error::Read { source, .. }) => of(match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData => Class::Input,
            _ => Class::Environment,
        }),
        Error::Unasked { .. } | Error::NotNamed { .. } => of(Class::Input).exit(exit::CONFIRM),
        Error::Refused { .. }
        | Error::Unconfirmed { .. }
        | Error::Changed { .. }
        | Error::OtherDisk { .. }
        | Error::OtherTable { .. } => of(Class::Input).exit(exit::REFUSED),
        _ => of(Class::Environment),
    }
}

/// A failure of writing, with the exit code that stands for it.
fn failed(error: &write::Error, node: &str, store: &ChunkStore) -> Failure {
    use write::Error;
    let disk = |source| {
        Failed::of(source)
            .and_then(Failed::hint)
            .or_else(|| error.hint())
    };
    let failure = |class| Failure::new(class, error);
    match error {
        Error::Fetch { source, .. } => match source.downcast_ref::<chunks::Error>() {
            Some(inner) => verify::damage(inner, node),
            None => failure(Class::Environment).hint(error.hint()),
        },
        Error::Chunk { digest, found, .. } => {
            let what = format!("its content has digest {found}");
            let damaged = chunks::Error::Damaged {
                digest: *digest,
                path: store.path(digest),
                what,
            };
            verify::damage(&damaged, node)
        }
        Error::Io { source, .. } | Error::Flush { source, .. } => failure(Class::Environment)
            .exit(exit::DISK)
            .hint(disk(source)),
        Error::Fake(fake) => {
            let message = format!("{}: {fake}", Code::DvFake);
            Failure::plain(Class::Environment, message)
                .exit(exit::DISK)
                .hint(error.hint())
        }
        Error::Unlisted { .. } => failure(Class::Environment)
            .exit(exit::DISK)
            .hint(error.hint()),
        Error::Journal { .. } => failure(Class::Environment).hint(error.hint()),
        Error::Unstable { .. } => failure(Class::Environment)
            .exit(exit::READ_BACK)
            .hint(error.hint()),
        Error::DataChanged { .. } => failure(Class::Environment)
            .exit(exit::DATA)
            .hint(error.hint()),
        _ => failure(Class::Input).exit(exit::REFUSED).hint(error.hint()),
    }
}

/// The same for what puts old tables back.
fn restored(error: &write::Error) -> Failure {
    use write::Error;
    let code = match error {
        Error::Plan(_) | Error::Table(_) | Error::Appeared { .. } => exit::REFUSED,
        _ => exit::DISK,
    };
    Failure::new(Class::Environment, error)
        .exit(code)
        .hint(error.hint())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prejoin_disk::write::{Error, Fingerprint, Phase, Spot};
    use prejoin_wire::digest::{ChunkDigest, Digest};

    use super::*;

    #[test]
    fn exit_codes() {
        let spot = || Spot {
            offset: 0,
            length: 1,
            owner: "partition 1".into(),
        };
        let phase = Phase::Write;
        let broken = || io::Error::other("broken");
        let print = Fingerprint(Digest::of(b""));
        let store = ChunkStore::open(Path::new("out"));
        let digest = ChunkDigest::of(b"chunk");
        let missing = Box::new(chunks::Error::Missing(digest));
        for (error, code) in [
            (Error::Plan("it cannot be".into()), 20),
            (
                Error::NotListed {
                    number: 1,
                    name: "data".into(),
                },
                20,
            ),
            (
                Error::Fake(prejoin_disk::io::capacity::Fake::Lost { size: 1 }),
                30,
            ),
            (
                Error::Unlisted {
                    phase,
                    number: 1,
                    name: "data".into(),
                },
                30,
            ),
            (
                Error::Io {
                    phase,
                    doing: "writing",
                    spot: spot(),
                    source: broken(),
                },
                30,
            ),
            (
                Error::Flush {
                    phase,
                    source: broken(),
                },
                30,
            ),
            (
                Error::Unstable {
                    phase,
                    spot: spot(),
                    repairs: 3,
                },
                31,
            ),
            (
                Error::DataChanged {
                    phase,
                    number: 1,
                    name: "data".into(),
                    before: print,
                    after: print,
                },
                32,
            ),
            (
                Error::Journal {
                    phase,
                    source: broken(),
                },
                6,
            ),
            (
                Error::Chunk {
                    phase,
                    digest,
                    found: digest,
                    spot: spot(),
                },
                5,
            ),
            (
                Error::Fetch {
                    phase,
                    digest,
                    spot: spot(),
                    source: missing,
                },
                5,
            ),
        ] {
            assert_eq!(failed(&error, "w1", &store).number(), code, "{error}");
            // Nothing says that nothing was written once something was.
            let late = if code == 20 { 30 } else { code };
            assert_eq!(midway(failed(&error, "w1", &store)).number(), late);
        }
    }
}
