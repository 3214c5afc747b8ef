//! The radix trees in kmod's `.bin` files (kmod `shared/index.h` and `tools/depmod.c`, `index_write`).
//!
//! Header: magic, version 2.1, offset of the root, all 32-bit big-endian. A node is its prefix and NUL, if it has one;
//! first and last character of its children and an offset for every character between; number of values, and for
//! each its priority and its text and NUL. The upper four bits of an offset say which of these the node has. Children
//! stand before their parent.

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
const LARGEST_OFFSET: u32 = 0x0fff_ffff;
/// Longer keys are left out: none exists, and the depth of the recursion is bounded by it.
const LONGEST_KEY: usize = 1024;

/// An index file whose offsets would not fit into 28 bits; those of a distribution kernel have 2 MB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("module index is larger than 256 MiB")]
pub struct TooLarge;

/// Keys with values, to become a file.
#[derive(Default)]
pub(super) struct Trie<'a> {
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    key: Vec<u8>,
    value: &'a [u8],
    priority: u32,
}

impl<'a> Trie<'a> {
    /// Adds a value. Keys kmod cannot look up (not ASCII, empty, or longer than 1024 bytes) are left out.
    pub(super) fn insert(&mut self, key: impl Into<Vec<u8>>, value: &'a str, priority: u32) {
        let key = key.into();
        if key.is_ascii() && !key.contains(&0) && (1..=LONGEST_KEY).contains(&key.len()) {
            self.entries.push(Entry {
                key,
                value: value.as_bytes(),
                priority,
            });
        }
    }

    /// The file.
    pub(super) fn encode(mut self) -> Result<Vec<u8>, TooLarge> {
        // Of equal priorities, kmod puts the later one first.
        self.entries.reverse();
        self.entries
            .sort_by(|a, b| (&a.key, a.priority).cmp(&(&b.key, b.priority)));
        let mut file = Vec::with_capacity(self.entries.len() * 32);
        file.extend(
            [MAGIC, VERSION, 0]
                .iter()
                .flat_map(|word| word.to_be_bytes()),
        );
        let root = node(&self.entries, 0, &mut file)?;
        file[8..12].copy_from_slice(&root.to_be_bytes());
        Ok(file)
    }
}

/// Writes the node of sorted entries that share their first `depth` bytes; returns its offset with flags.
fn node(entries: &[Entry<'_>], depth: usize, file: &mut Vec<u8>) -> Result<u32, TooLarge> {
    let [first, .., last] = entries else {
        return match entries {
            [only] => leaf(only, depth, file),
            _ => offset(file, 0),
        };
    };
    let (first, last) = (&first.key[depth..], &last.key[depth..]);
    let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let prefix = &first[..shared];
    let depth = depth + shared;

    let own = entries.partition_point(|entry| entry.key.len() == depth);
    let (values, below) = entries.split_at(own);
    let mut children: Vec<(u8, u32)> = Vec::new();
    for group in below.chunk_by(|a, b| a.key[depth] == b.key[depth]) {
        let child = node(group, depth + 1, file)?;
        children.push((group[0].key[depth], child));
    }

    let at = offset(file, 0)?;
    let mut flags = 0;
    if !prefix.is_empty() {
        flags |= HAS_PREFIX;
        file.extend(prefix);
        file.push(0);
    }
    if let (Some(&(first, _)), Some(&(last, _))) = (children.first(), children.last()) {
        flags |= HAS_CHILDREN;
        file.extend([first, last]);
        let mut children = children.into_iter().peekable();
        for character in first..=last {
            let child = children
                .next_if(|child| child.0 == character)
                .map_or(0, |child| child.1);
            file.extend(child.to_be_bytes());
        }
    }
    if !values.is_empty() {
        flags |= HAS_VALUES;
        put_values(values, file);
    }
    Ok(at | flags)
}

/// A node that is only the rest of one key and its value.
fn leaf(entry: &Entry<'_>, depth: usize, file: &mut Vec<u8>) -> Result<u32, TooLarge> {
    let prefix = &entry.key[depth..];
    let flags = if prefix.is_empty() {
        HAS_VALUES
    } else {
        HAS_VALUES | HAS_PREFIX
    };
    let at = offset(file, flags)?;
    if !prefix.is_empty() {
        file.extend(prefix);
        file.push(0);
    }
    put_values(std::slice::from_ref(entry), file);
    Ok(at)
}

fn put_values(values: &[Entry<'_>], file: &mut Vec<u8>) {
    file.extend((values.len() as u32).to_be_bytes());
    for entry in values {
        file.extend(entry.priority.to_be_bytes());
        file.extend(entry.value);
        file.push(0);
    }
}

fn offset(file: &[u8], flags: u32) -> Result<u32, TooLarge> {
    let at = u32::try_from(file.len())
        .ok()
        .filter(|&at| at <= LARGEST_OFFSET)
        .ok_or(TooLarge)?;
    Ok(at | flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_of_a_small_file() {
        let mut trie = Trie::default();
        trie.insert("usb", "second", 2);
        trie.insert("usb", "first", 1);
        trie.insert("usbx", "x", 3);
        trie.insert("ä", "lost", 3);
        let file = trie.encode().unwrap();
        let text: String = file[12..]
            .iter()
            .flat_map(|byte| std::ascii::escape_default(*byte))
            .map(char::from)
            .collect();
        assert_eq!(
            file[..12],
            [0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1, 0xe0, 0, 0, 12 + 10]
        );
        assert_eq!(
            text,
            [
                r"\x00\x00\x00\x01\x00\x00\x00\x03x\x00",
                r"usb\x00xx@\x00\x00\x0c",
                r"\x00\x00\x00\x02\x00\x00\x00\x01first\x00\x00\x00\x00\x02second\x00",
            ]
            .concat()
        );
    }

    #[test]
    fn an_empty_file_has_an_empty_root() {
        assert_eq!(Trie::default().encode().unwrap()[8..], 12u32.to_be_bytes());
    }
}
