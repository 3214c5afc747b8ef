//! Disks made by hand after the formats' own descriptions, for what no tool of this machine makes.

use super::MIB;
use super::sparse::Sparse;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) disk: Sparse,
    /// What libblkid (util-linux 2.38) says of it: the same, something else, or nothing.
    pub(crate) blkid: Blkid,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Blkid {
    /// Kind, UUID, label and version of the first signature.
    Same,
    /// Kind only: the rest it does not read, or reads otherwise.
    Kind,
    /// It finds nothing at all.
    Blind,
    /// Only later ones know it.
    Later,
}

const UUID: [u8; 16] = [
    0x6f, 0x1d, 0x9a, 0x2e, 0x30, 0x4b, 0x4c, 0x5d, 0x8e, 0x7f, 0x10, 0x21, 0x32, 0x43, 0x54, 0x65,
];
const GIB: u64 = 1 << 30;

/// Bytes with some at some places.
fn put(length: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(bytes)
}

fn crc32(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(bytes)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, size, blkid, pieces| {
        cases.push(Case {
            name,
            disk: Sparse {
                size,
                fill: 0,
                pieces,
            },
            blkid,
        });
    };
    raids(&mut add);
    firmware_raids(&mut add);
    storage(&mut add);
    zfs(&mut add);
    windows(&mut add);
    apple(&mut add);
    shared(&mut add);
    volumes(&mut add);
    file_systems(&mut add);
    swaps(&mut add);
    cases
}

type Add<'a> = dyn FnMut(&'static str, u64, Blkid, Vec<(u64, Vec<u8>)>) + 'a;

/// A version 1 superblock with a right checksum.
fn md(offset: u64, role: u32) -> Vec<u8> {
    let mut bytes = put(
        256 + 4,
        &[
            (0, &0xa92b_4efc_u32.to_le_bytes()),
            (4, &1u32.to_le_bytes()),
            (16, &UUID),
            (32, b"store:0"),
            (72, &1u32.to_le_bytes()),
            (80, &100_000u64.to_le_bytes()),
            (92, &2u32.to_le_bytes()),
            (128, &2048u64.to_le_bytes()),
            (136, &100_000u64.to_le_bytes()),
            (144, &(offset / 512).to_le_bytes()),
            (160, &role.to_le_bytes()),
            (220, &2u32.to_le_bytes()),
        ],
    );
    let sum: u64 = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| u64::from(u32::from_le_bytes(*word)))
        .sum();
    bytes[216..220].copy_from_slice(&((sum >> 32) as u32).wrapping_add(sum as u32).to_le_bytes());
    bytes
}

fn raids(add: &mut Add) {
    let size = 64 * MIB + 12345;
    let last = (size >> 12 << 12) - 8192;
    add("md 1.0", size, Blkid::Same, vec![(last, md(last, 0))]);
    add("md 1.1", size, Blkid::Same, vec![(0, md(0, 0))]);
    add("md 1.2", size, Blkid::Same, vec![(4096, md(4096, 0))]);
    let old = |order: fn(u32) -> [u8; 4]| {
        let words = [
            0xa92b_4efc,
            0,
            90,
            3,
            0,
            0x6f1d_9a2e,
            0,
            1,
            60_000,
            2,
            2,
            0,
            0,
            0x304b_4c5d,
            0x8e7f_1021,
            0x3243_5465,
        ];
        words.into_iter().flat_map(order).collect::<Vec<u8>>()
    };
    let place = (size >> 16 << 16) - 65536;
    add(
        "md 0.90",
        size,
        Blkid::Same,
        vec![(place, old(u32::to_le_bytes))],
    );
    // libblkid turns the words of the other order once more.
    add(
        "md 0.90 of a big-endian machine",
        size,
        Blkid::Kind,
        vec![(place, old(u32::to_be_bytes))],
    );
    add(
        "stale md 1.0 behind ext4's place of md 1.2",
        size,
        Blkid::Same,
        vec![(last, md(last, 0)), (4096, md(8192, 0))],
    );
}

fn firmware_raids(add: &mut Add) {
    let size = 64 * MIB;
    let sector = |back: u64| size - back * 512;
    let mut ddf = put(
        512,
        &[
            (0, &[0xde, 0x11, 0xde, 0x11]),
            (4, &[0xff; 4]),
            (8, b"LSI     \x10\x00\x00\x62disk0001ABCD"),
            (32, b"02.00.00"),
        ],
    );
    ddf[96..104].copy_from_slice(&(sector(1025) / 512).to_be_bytes());
    let sum = crc32(&ddf);
    ddf[4..8].copy_from_slice(&sum.to_be_bytes());
    add(
        "DDF, anchor and primary header",
        size,
        Blkid::Kind,
        vec![(sector(1), ddf.clone()), (sector(1025), ddf)],
    );
    let intel = put(512, &[(0, b"Intel Raid ISM Cfg Sig. 1.3.00")]);
    add(
        "Intel RST",
        size,
        Blkid::Same,
        vec![(sector(2), intel.clone())],
    );
    add(
        "Intel RST on 4 KiB sectors",
        size,
        Blkid::Blind,
        vec![(size - 8192, intel)],
    );
    let mut nvidia = put(
        512,
        &[
            (0, b"NVIDIA  "),
            (8, &30u32.to_le_bytes()),
            (16, &100u16.to_le_bytes()),
        ],
    );
    let words = nvidia[..120].as_chunks().0.iter();
    let sum = words.fold(0u32, |sum, word| {
        sum.wrapping_add(u32::from_le_bytes(*word))
    });
    nvidia[12..16].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    add("NVIDIA", size, Blkid::Same, vec![(sector(2), nvidia)]);
    add(
        "LSI MegaRAID",
        size,
        Blkid::Same,
        vec![(sector(1), b"$XIDE$".to_vec())],
    );
    let mut silicon = put(
        512,
        &[
            (0x60, &[0, 0, 0, 0x2f]),
            (0x108, &[1, 0, 6, 0]),
            (0x116, &[1]),
        ],
    );
    let sum = silicon[..0x13e]
        .as_chunks()
        .0
        .iter()
        .fold(0u16, |sum, pair| {
            sum.wrapping_add(u16::from_le_bytes(*pair))
        });
    silicon[0x13e..0x140].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    add(
        "Silicon Image",
        size,
        Blkid::Same,
        vec![(sector(1), silicon)],
    );
    let mut via = put(512, &[(0, &[0x55, 0xaa, 1, 3, 0, 1, 0x12, 0x34])]);
    via[50] = via[..50]
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    add("VIA", size, Blkid::Same, vec![(sector(1), via)]);
    let mut jmicron = put(
        512,
        &[(0, b"JM"), (2, &[1, 2]), (0x20, b"MIRROR"), (0x30, &[1])],
    );
    let sum = jmicron[..128].as_chunks().0.iter().fold(0u16, |sum, pair| {
        sum.wrapping_add(u16::from_le_bytes(*pair))
    });
    jmicron[4..6].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    add("JMicron", size, Blkid::Kind, vec![(sector(1), jmicron)]);
    let adaptec = put(
        512,
        &[(0, &[0x37, 0xfc, 0x4d, 0x1e]), (63, &[2]), (256, b"DPTM")],
    );
    add("Adaptec", size, Blkid::Same, vec![(sector(1), adaptec)]);
    for (name, back) in [
        ("Promise, 63 sectors from the end", 63),
        ("Promise, 3087 sectors from the end", 3087),
    ] {
        add(
            name,
            size,
            Blkid::Same,
            vec![(sector(back), b"Promise Technology, Inc.".to_vec())],
        );
    }
    add(
        "HighPoint 37x",
        size,
        Blkid::Same,
        vec![(9 * 512 + 32, vec![0xf0, 0x16, 0x78, 0x5a])],
    );
    add(
        "HighPoint 45x",
        size,
        Blkid::Same,
        vec![(sector(11), vec![0xf3, 0x16, 0x78, 0x5a])],
    );
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u32).to_le_bytes(), value.as_bytes()].concat()
}

/// A BlueStore label; with its OSD's number, if it has one.
fn bluestore(description: &str, osd: Option<&str>) -> Vec<u8> {
    let mut map = 0u32.to_le_bytes().to_vec();
    if let Some(osd) = osd {
        map = [
            &3u32.to_le_bytes()[..],
            &text("ceph_fsid"),
            &text("11111111-2222-3333-4444-555555555555"),
        ]
        .concat();
        map = [
            map,
            text("osdspec_affinity"),
            text(""),
            text("whoami"),
            text(osd),
        ]
        .concat();
    }
    let body = [
        &UUID[..],
        &(20 * GIB).to_le_bytes(),
        &[0; 8],
        &text(description),
        &map,
    ]
    .concat();
    let start = b"bluestore block device\n6f1d9a2e-304b-4c5d-8e7f-102132435465\n\x02\x01";
    let bytes = [&start[..], &(body.len() as u32).to_le_bytes(), &body].concat();
    let sum = !crc32c(&bytes);
    [bytes, sum.to_le_bytes().to_vec()].concat()
}

fn storage(add: &mut Add) {
    let main = || bluestore("main", Some("3"));
    let copies = || [GIB, 10 * GIB].map(|at| (at, main())).to_vec();
    add(
        "BlueStore with labels at 1 and 10 GiB",
        20 * GIB,
        Blkid::Kind,
        [vec![(0, main())], copies()].concat(),
    );
    add("BlueStore, after wipefs", 20 * GIB, Blkid::Blind, copies());
    add(
        "BlueStore database",
        2 * GIB,
        Blkid::Kind,
        vec![(0, bluestore("bluefs db", None))],
    );

    let attribute = |kind: u8, name: &str, value: &[u8]| {
        let body = [
            &(name.len() as u16).to_le_bytes()[..],
            &(value.len() as u16).to_le_bytes(),
            name.as_bytes(),
            value,
        ]
        .concat();
        [&[kind][..], &(body.len() as u32).to_le_bytes(), &body].concat()
    };
    let superblock = |kind: &[u8]| {
        let parts: [(usize, &[u8]); 7] = [
            (0, b"SPDKBLOB"),
            (8, &3u32.to_le_bytes()),
            (12, &4096u32.to_le_bytes()),
            (20, &(1u64 << 32 | 1).to_le_bytes()),
            (28, &(4u32 << 20).to_le_bytes()),
            (48, &9u32.to_le_bytes()),
            (56, kind),
        ];
        let mut bytes = put(4096, &parts);
        let sum = crc32c(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&sum.to_le_bytes());
        bytes
    };
    let attributes = [
        attribute(2, "uuid", b"6f1d9a2e-304b-4c5d-8e7f-102132435465\0"),
        attribute(2, "name", b"longhorn-disk\0"),
    ];
    let page = put(
        4096,
        &[
            (0, &(1u64 << 32 | 1).to_le_bytes()),
            (16, &attributes.concat()),
        ],
    );
    add(
        "SPDK store of logical volumes",
        128 * MIB,
        Blkid::Blind,
        vec![(0, superblock(b"LVOLSTORE")), (10 * 4096, page)],
    );
    add(
        "SPDK blobstore",
        128 * MIB,
        Blkid::Blind,
        vec![(0, superblock(b"BLOBFS"))],
    );

    let meta = put(
        256 << 10,
        &[
            (0, &[0x5a, 0x4b, 0x3c, 0x2d]),
            ((256 << 10) - 4, &[0xa5, 0xb4, 0xc3, 0xd2]),
        ],
    );
    add(
        "Talos META",
        MIB,
        Blkid::Blind,
        vec![(0, meta.clone()), (256 << 10, meta)],
    );
}

/// A pair of a ZFS list: a number, or a text.
fn pair(name: &str, value: Result<u64, &str>) -> Vec<u8> {
    let padded = |text: &str| put(text.len().next_multiple_of(4), &[(0, text.as_bytes())]);
    let (kind, value) = match value {
        Ok(number) => (8u32, number.to_be_bytes().to_vec()),
        Err(text) => (
            9,
            [(text.len() as u32).to_be_bytes().to_vec(), padded(text)].concat(),
        ),
    };
    let name = [(name.len() as u32).to_be_bytes().to_vec(), padded(name)].concat();
    let body = [&name[..], &kind.to_be_bytes(), &1u32.to_be_bytes(), &value].concat();
    let length = body.len() as u32 + 8;
    [
        &length.to_be_bytes()[..],
        &(length + 8).to_be_bytes(),
        &body,
    ]
    .concat()
}

fn zfs(add: &mut Add) {
    let list = |pairs: &[Vec<u8>]| {
        [
            &[1, 1, 0, 0][..],
            &0u32.to_be_bytes(),
            &1u32.to_be_bytes(),
            &pairs.concat(),
            &[0; 8],
        ]
        .concat()
    };
    // What is inside the tree of devices is none of the pool's own.
    let inner = [pair("guid", Ok(77)), pair("name", Err("inner")), vec![0; 8]].concat();
    let head = [
        &9u32.to_be_bytes()[..],
        b"vdev_tree\0\0\0",
        &19u32.to_be_bytes(),
        &1u32.to_be_bytes(),
        &[0; 8],
    ]
    .concat();
    let length = (head.len() + inner.len() + 8) as u32;
    let tree = [
        &length.to_be_bytes()[..],
        &length.to_be_bytes(),
        &head,
        &inner,
    ]
    .concat();
    let pool = list(&[
        pair("version", Ok(5000)),
        pair("name", Err("tank")),
        pair("state", Ok(0)),
        pair("txg", Ok(42)),
        pair("pool_guid", Ok(9_876_543_210_123)),
        pair("hostname", Err("node-1")),
        pair("top_guid", Ok(5)),
        tree,
        pair("guid", Ok(123_456_789)),
    ]);
    let spare = list(&[
        pair("version", Ok(5000)),
        pair("state", Ok(3)),
        pair("guid", Ok(123_456_789)),
    ]);
    let uberblock = [0x00ba_b10c_u64, 5000, 42, 7, 1_700_000_000]
        .map(u64::to_le_bytes)
        .concat();
    let label = |list: &[u8]| {
        let mut bytes = put(256 << 10, &[(16 << 10, list)]);
        bytes[132 << 10..][..uberblock.len()].copy_from_slice(&uberblock);
        bytes
    };
    let size = 100 * MIB + 100_000;
    let end = size >> 18 << 18;
    let places = [0, 256 << 10, end - (512 << 10), end - (256 << 10)];
    let at = |places: &[u64], list: &[u8]| {
        places
            .iter()
            .map(|&place| (place, label(list)))
            .collect::<Vec<_>>()
    };
    add("zfs, four labels", size, Blkid::Same, at(&places, &pool));
    add(
        "zfs, the last label only",
        size,
        Blkid::Later,
        at(&places[3..], &pool),
    );
    add("zfs spare", size, Blkid::Same, at(&places, &spare));
    add(
        "zfs, uberblocks only",
        size,
        Blkid::Blind,
        vec![(end - (512 << 10) + (128 << 10), uberblock)],
    );
}

fn windows(add: &mut Add) {
    let metadata = |version: u16| {
        let name: Vec<u8> = "DESKTOP C: 20.11.2026"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let entry = [
            (name.len() as u16 + 8).to_le_bytes(),
            7u16.to_le_bytes(),
            2u16.to_le_bytes(),
            [1, 0],
        ]
        .concat();
        let other = put(24, &[(0, &24u16.to_le_bytes()), (2, &3u16.to_le_bytes())]);
        let size = (48 + other.len() + entry.len() + name.len()) as u32;
        let guid = [
            0x2e, 0x9a, 0x1d, 0x6f, 0x4b, 0x30, 0x5d, 0x4c, 0x8e, 0x7f, 0x10, 0x21, 0x32, 0x43,
            0x54, 0x65,
        ];
        let body = [other, entry, name].concat();
        let bytes = [
            (0, &b"-FVE-FS-"[..]),
            (10, &version.to_le_bytes()),
            (64, &size.to_le_bytes()),
            (80, &guid),
            (112, &body),
        ];
        put(4096, &bytes)
    };
    let places = [MIB, 20 * MIB, 40 * MIB].map(u64::to_le_bytes).concat();
    let blocks = || {
        [MIB, 20 * MIB, 40 * MIB]
            .map(|at| (at, metadata(2)))
            .to_vec()
    };
    let seven = put(
        512,
        &[
            (0, b"\xeb\x58\x90-FVE-FS-"),
            (82, b"FAT32   "),
            (176, &places),
            (510, &[0x55, 0xaa]),
        ],
    );
    add(
        "BitLocker",
        64 * MIB,
        Blkid::Same,
        [vec![(0, seven)], blocks()].concat(),
    );
    let fat: [(usize, &[u8]); 10] = [
        (11, &[0, 2, 8, 32, 0, 2]),
        (21, &[0xf8]),
        (32, &131_072u32.to_le_bytes()),
        (36, &128u32.to_le_bytes()),
        (44, &[2]),
        (66, &[0x29]),
        (67, &[0x78, 0x56, 0x34, 0x12]),
        (82, b"FAT32   "),
        (510, &[0x55, 0xaa]),
        (0, b"\xeb\x58\x90MSWIN4.1"),
    ];
    let plain = put(512, &fat);
    let mut to_go = plain.clone();
    to_go[440..464].copy_from_slice(&places);
    add(
        "BitLocker To Go",
        64 * MIB,
        Blkid::Kind,
        [vec![(0, to_go)], blocks()].concat(),
    );
    add(
        "FAT32 of Windows 95, no BitLocker",
        64 * MIB,
        Blkid::Same,
        vec![(0, plain.clone()), (6 * 512, plain)],
    );
    let vista = put(
        512,
        &[
            (0, b"\xeb\x52\x90-FVE-FS-"),
            (11, &[0, 2, 8]),
            (56, &256u64.to_le_bytes()),
            (510, &[0x55, 0xaa]),
        ],
    );
    add(
        "BitLocker of Vista",
        64 * MIB,
        Blkid::Kind,
        vec![(0, vista), (MIB, metadata(1))],
    );
    let refs = put(
        512,
        &[(0, b"\0\0\0ReFS\0\0\0\0\0\0\0\0\0FSRS"), (40, &[3, 14])],
    );
    add(
        "ReFS",
        64 * MIB,
        Blkid::Kind,
        vec![(0, refs.clone()), (64 * MIB - 512, refs)],
    );
}

fn apple(add: &mut Add) {
    let plus = put(
        512,
        &[
            (0, b"H+"),
            (2, &[0, 4]),
            (40, &4096u32.to_be_bytes()),
            (44, &16_384u32.to_be_bytes()),
            (104, &[1, 2, 3, 4, 5, 6, 7, 8]),
        ],
    );
    add(
        "HFS+",
        64 * MIB,
        Blkid::Kind,
        vec![(1024, plus.clone()), (64 * MIB - 1024, plus)],
    );
    let old = put(
        512,
        &[
            (0, b"BD"),
            (14, &[0, 3]),
            (18, &[16, 0]),
            (20, &8192u32.to_be_bytes()),
            (36, b"\x06System"),
        ],
    );
    add("HFS", 64 * MIB, Blkid::Same, vec![(1024, old)]);
    let core = |cipher: u32| {
        let mut bytes = put(
            512,
            &[
                (8, &[1, 0, 0x10, 0]),
                (88, b"CS"),
                (90, &1u32.to_le_bytes()),
                (96, &4096u32.to_le_bytes()),
                (168, &16u32.to_le_bytes()),
                (172, &cipher.to_le_bytes()),
                (304, &UUID),
            ],
        );
        let sum = crc::Crc::<u32>::new(&crc::Algorithm {
            init: 0,
            xorout: 0,
            ..crc::CRC_32_ISCSI
        })
        .checksum(&bytes[8..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    };
    add("FileVault 2", 64 * MIB, Blkid::Later, vec![(0, core(2))]);
    add(
        "Core Storage that is not encrypted",
        64 * MIB,
        Blkid::Blind,
        vec![(0, core(0))],
    );
}

fn shared(add: &mut Add) {
    let drbd = |magic: u32, at: usize| {
        put(
            4096,
            &[
                (at, &0x0123_4567_89ab_cdef_u64.to_be_bytes()),
                (60, &magic.to_be_bytes()),
                (80, &4096u32.to_be_bytes()),
            ],
        )
    };
    let end = 64 * MIB - 4096;
    add(
        "DRBD 8.4",
        64 * MIB,
        Blkid::Same,
        vec![(end, drbd(0x8374_026b, 40))],
    );
    add(
        "DRBD 8.4, not shut down",
        64 * MIB,
        Blkid::Same,
        vec![(end, drbd(0x8374_026c, 40))],
    );
    add(
        "DRBD 9",
        64 * MIB,
        Blkid::Same,
        vec![(end, drbd(0x8374_026d, 48))],
    );
    let volume = put(
        1024,
        &[
            (0, &[0x0d, 0xd0, 0x01, 0xc0]),
            (4, &3u32.to_le_bytes()),
            (130, &UUID),
            (532, b"6f1d9a2e-304b4c5d-8e7f-102132435465"),
        ],
    );
    let system = put(
        512,
        &[
            (0, &[0x5e, 0xf1, 0xab, 0x2f]),
            (4, &20u32.to_le_bytes()),
            (8, &[6]),
            (9, &UUID),
            (29, b"datastore1"),
        ],
    );
    add(
        "VMFS",
        64 * MIB,
        Blkid::Same,
        vec![(MIB, volume), (2 * MIB, system.clone())],
    );
    add(
        "VMFS without its volume",
        64 * MIB,
        Blkid::Same,
        vec![(2 * MIB, system)],
    );
    add(
        "Oracle ASM",
        64 * MIB,
        Blkid::Same,
        vec![(32, b"ORCLDISKDATA01".to_vec())],
    );
    let ocfs = put(
        1024,
        &[
            (4, &[2]),
            (8, b"OracleCFS"),
            (560, b"shared"),
            (624, &[6]),
            (626, &UUID),
        ],
    );
    add("OCFS", 64 * MIB, Blkid::Blind, vec![(0, ocfs)]);
}

fn volumes(add: &mut Add) {
    let stratis = {
        let uuid = b"6f1d9a2e304b4c5d8e7f102132435465";
        let mut bytes = put(
            512,
            &[
                (4, b"!Stra0tis\x86\xff\x02^\x41rh"),
                (20, &131_072u64.to_le_bytes()),
                (32, &[b'a'; 32]),
                (64, uuid),
            ],
        );
        let sum = crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    };
    add(
        "Stratis",
        64 * MIB,
        Blkid::Same,
        vec![(512, stratis.clone()), (4608, stratis.clone())],
    );
    add(
        "Stratis, second header only",
        64 * MIB,
        Blkid::Same,
        vec![(4608, stratis)],
    );
    add(
        "VDO",
        64 * MIB,
        Blkid::Same,
        vec![(0, put(4096, &[(0, b"dmvdo001"), (40, &UUID)]))],
    );
    let snapshot = put(512, &[(0, b"SnAp"), (4, &[1]), (8, &[1]), (12, &[16])]);
    add(
        "device-mapper snapshot",
        64 * MIB,
        Blkid::Same,
        vec![(0, snapshot)],
    );
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    add(
        "LVM1",
        64 * MIB,
        Blkid::Same,
        vec![(0, put(512, &[(0, b"HM\x01"), (44, letters)]))],
    );
    let lvm = put(
        512,
        &[
            (0, b"LABELONE"),
            (8, &[3]),
            (20, &[32]),
            (24, b"LVM2 001"),
            (32, letters),
        ],
    );
    add(
        "LVM2 in sector 3, wrong checksum",
        64 * MIB,
        Blkid::Blind,
        vec![(3 * 512, lvm)],
    );
    add(
        "dm-integrity",
        64 * MIB,
        Blkid::Same,
        vec![(0, b"integrt\0\x05".to_vec())],
    );
    let opal = put(
        4096,
        &[
            (0, b"LUKS\xba\xbe\x00\x02"),
            (8, &16_384u64.to_be_bytes()),
            (24, b"locked"),
            (168, b"6f1d9a2e-304b-4c5d-8e7f-102132435465"),
            (208, b"HW-OPAL-CRYPT"),
        ],
    );
    add(
        "LUKS2 that leaves encryption to the drive",
        64 * MIB,
        Blkid::Kind,
        vec![(0, opal)],
    );
}

fn file_systems(add: &mut Add) {
    let magic = [
        0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7,
        0xef,
    ];
    let bcachefs = |offset: u64| {
        let places = [8u64, 4096, 60_000].map(u64::to_le_bytes).concat();
        let parts: [(usize, &[u8]); 10] = [
            (16, &(1u16 << 10 | 7).to_le_bytes()),
            (24, &magic),
            (56, &UUID),
            (72, b"bulk"),
            (104, &(offset / 512).to_le_bytes()),
            (123, &[1]),
            (240, &magic),
            (257, &[11]),
            (258, &[3]),
            (264, &places),
        ];
        (offset, put(4096, &parts))
    };
    let copies = || vec![bcachefs(2 * MIB), bcachefs(60_000 * 512)];
    add(
        "bcachefs",
        64 * MIB,
        Blkid::Later,
        [vec![bcachefs(4096)], copies()].concat(),
    );
    let sector = (3584, bcachefs(0).1[240..752].to_vec());
    add(
        "bcachefs, its layout in sector 7 and two copies",
        64 * MIB,
        Blkid::Later,
        [vec![sector], copies()].concat(),
    );
    let ufs = |magic: u32| {
        put(
            8192,
            &[
                (48, &16_384u32.to_le_bytes()),
                (52, &2048u32.to_le_bytes()),
                (1372, &magic.to_le_bytes()),
            ],
        )
    };
    add(
        "UFS2",
        64 * MIB,
        Blkid::Kind,
        vec![(64 << 10, ufs(0x1954_0119))],
    );
    add(
        "UFS1",
        64 * MIB,
        Blkid::Kind,
        vec![(8 << 10, ufs(0x0001_1954))],
    );
    add(
        "Reiser4",
        64 * MIB,
        Blkid::Same,
        vec![(
            64 << 10,
            put(
                512,
                &[(0, b"ReIsEr4"), (19, &[16]), (20, &UUID), (36, b"four")],
            ),
        )],
    );
    add(
        "squashfs 3",
        64 * MIB,
        Blkid::Same,
        vec![(0, put(512, &[(0, b"hsqs"), (28, &[3, 0, 1, 0])]))],
    );
}

fn swaps(add: &mut Add) {
    let header = || {
        (
            1024,
            put(
                512,
                &[
                    (0, &[1]),
                    (4, &1000u32.to_le_bytes()),
                    (12, &UUID),
                    (28, b"swap0"),
                ],
            ),
        )
    };
    for (name, page) in [
        ("swap, one page of 4 KiB", 4096),
        ("swap, one page of 64 KiB", 65536),
    ] {
        add(
            name,
            64 * MIB,
            Blkid::Same,
            vec![header(), (page - 10, b"SWAPSPACE2".to_vec())],
        );
    }
    for (name, magic) in [
        ("hibernated", &b"S1SUSPEND"[..]),
        ("hibernated by uswsusp", b"ULSUSPEND"),
        ("LINHIB", b"LINHIB0001"),
    ] {
        add(
            name,
            64 * MIB,
            Blkid::Same,
            vec![header(), (4086, magic.to_vec())],
        );
    }
    add(
        "hibernated, 64 KiB pages",
        64 * MIB,
        Blkid::Same,
        vec![header(), (65526, b"S1SUSPEND".to_vec())],
    );
    add(
        "swap of old",
        64 * MIB,
        Blkid::Same,
        vec![(4086, b"SWAP-SPACE".to_vec())],
    );
    let ice = vec![0xed, 0xc3, 0x02, 0xe9, 0x98, 0x56, 0xe5, 0x0c];
    add("TuxOnIce", 64 * MIB, Blkid::Same, vec![(0, ice)]);
}
