//! Kernel modules in a payload: decompressed just long enough to read what they say of themselves.

use std::io::{self, Read};

use prejoin_formats::kmod::Module;

/// Largest module file, compressed or not.
pub const LARGEST: u64 = 64 << 20;

/// Largest decompressed module: amdgpu has 30 MB.
const DECOMPRESSED: u64 = 256 << 20;

/// Room that is kept from one module to the next.
const KEPT: usize = 32 << 20;

/// A module that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("kernel module `{path}`: {problem}")]
pub struct Error {
    /// Its path in the payload.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

/// Whether `path` is a kernel module that modprobe(8) would find.
pub fn is_module(path: &[u8]) -> bool {
    let name = path
        .strip_suffix(b".xz")
        .or(path.strip_suffix(b".zst"))
        .or(path.strip_suffix(b".gz"))
        .unwrap_or(path);
    name.ends_with(b".ko") && path.starts_with(b"usr/lib/modules/")
}

/// Reads the module at `path`; `buffer` is room to decompress it in.
pub fn read(path: &[u8], bytes: &[u8], buffer: &mut Vec<u8>) -> Result<Module, Error> {
    let text = String::from_utf8_lossy(path).into_owned();
    let fail = |problem: String| Error {
        path: text.clone(),
        problem,
    };
    // modules.dep has `PATH: PATH PATH`.
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
        return Err(fail("its path cannot stand in modules.dep".to_owned()));
    }
    buffer.clear();
    buffer.shrink_to(KEPT);
    let raw = match path.rsplit(|&byte| byte == b'.').next() {
        Some(b"xz") => {
            // The package around it was checked already: its own checksum would only cost time.
            let stream = liblzma::stream::Stream::new_stream_decoder(
                DECOMPRESSED,
                liblzma::stream::IGNORE_CHECK,
            )
            .map_err(|error| fail(error.to_string()))?;
            fill(
                liblzma::bufread::XzDecoder::new_stream(bytes, stream),
                buffer,
            )
        }
        Some(b"zst") => zstd::stream::read::Decoder::with_buffer(bytes)
            .and_then(|decoder| fill(decoder, buffer)),
        Some(b"gz") => fill(flate2::bufread::GzDecoder::new(bytes), buffer),
        _ => Ok(()),
    };
    raw.map_err(|error| fail(error.to_string()))?;
    let raw = if buffer.is_empty() { bytes } else { buffer };
    let inside = text.splitn(5, '/').nth(4).unwrap_or(&text);
    Module::parse(inside, raw).map_err(|error| fail(error.problem))
}

fn fill(decoder: impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    if decoder.take(DECOMPRESSED + 1).read_to_end(buffer)? as u64 > DECOMPRESSED {
        return Err(io::Error::other("it is too large"));
    }
    Ok(())
}
