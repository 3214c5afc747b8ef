#!/usr/bin/env python3
"""Writes by hand what no tool of this distribution writes into a plain file: labels of volumes and arrays from their
documented layouts, and partition tables that are wrong on purpose. `labels.py VERB DISK ARGUMENTS...`; numbers may end
in K, M, G (binary) or s (512-byte sectors), and a negative offset counts from the disk's end."""
import hashlib
import os
import struct
import sys
import uuid
import zlib

UNITS = {"s": 512, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def number(text):
    return int(text[:-1], 0) * UNITS[text[-1]] if text[-1] in UNITS else int(text, 0)


class Disk:
    def __init__(self, path):
        self.file = open(path, "r+b")
        self.size = os.fstat(self.file.fileno()).st_size

    def place(self, offset):
        return offset if offset >= 0 else self.size + offset

    def read(self, offset, length):
        self.file.seek(self.place(offset))
        return self.file.read(length)

    def write(self, offset, data):
        self.file.seek(self.place(offset))
        self.file.write(data)


def identity(text):
    return uuid.UUID(text).bytes


def crc32c(data, crc=0xFFFFFFFF):
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


# ---- plain bytes

def verb_write(disk, offset, *data):
    """write OFFSET TEXT|x:HEX ...: bytes as they are."""
    bytes_ = b"".join(bytes.fromhex(d[2:]) if d.startswith("x:") else d.encode() for d in data)
    disk.write(number(offset), bytes_)


def verb_zero(disk, offset, length):
    disk.write(number(offset), bytes(number(length)))


def verb_noise(disk, offset, length):
    """Bytes that look random and are always the same."""
    out = b"".join(hashlib.sha256(struct.pack("<Q", i)).digest() for i in range(number(length) // 32))
    disk.write(number(offset), out)


def verb_copy(disk, source, target, length):
    disk.write(number(target), disk.read(number(source), number(length)))


def verb_put(disk, path, offset):
    """Another file's data at an offset; its holes stay holes."""
    start = number(offset)
    with open(path, "rb") as source:
        size, at = os.fstat(source.fileno()).st_size, 0
        if start + size > disk.size:
            sys.exit(f"{path}: does not fit")
        while at < size:
            try:
                at = os.lseek(source.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(source.fileno(), at, os.SEEK_HOLE)
            while at < hole:
                source.seek(at)
                piece = source.read(min(1 << 20, hole - at))
                if piece.strip(b"\0"):
                    disk.write(start + at, piece)
                at += len(piece)


# ---- GPT: UEFI specification 2.10, section 5.3

def verb_gpt(disk, header, sector, *changes):
    """gpt HEADER SECTOR [FIELD=VALUE | N.FIELD=VALUE]...: changes one copy and mends its checksums."""
    at, sector = disk.place(number(header)), number(sector)
    head = bytearray(disk.read(at, sector))
    fields = {"my": (24, "<Q"), "alternate": (32, "<Q"), "first": (40, "<Q"), "last": (48, "<Q"), "guid": (56, "guid"),
              "entries": (72, "<Q"), "count": (80, "<I"), "entry_size": (84, "<I")}
    parts = {"type": (0, "guid"), "guid": (16, "guid"), "start": (32, "<Q"), "end": (40, "<Q"), "attributes": (48, "<Q"),
             "name": (56, "name")}

    def change(block, base, place, value):
        offset, how = place
        if how == "guid":
            data = uuid.UUID(value).bytes_le
        elif how == "name":
            data = value.encode("utf-16-le").ljust(72, b"\0")
        else:
            data = struct.pack(how, number(value))
        block[base + offset:base + offset + len(data)] = data

    entries_at = None
    for item in changes:
        key, value = item.split("=", 1)
        if "." not in key:
            change(head, 0, fields[key], value)
    lba, count, size = struct.unpack_from("<QII", head, 72)
    entries_at = lba * sector
    entries = bytearray(disk.read(entries_at, count * size))
    for item in changes:
        key, value = item.split("=", 1)
        if "." in key:
            index, field = key.split(".")
            change(entries, (int(index) - 1) * size, parts[field], value)
    disk.write(entries_at, bytes(entries))
    struct.pack_into("<I", head, 88, zlib.crc32(entries))
    length = struct.unpack_from("<I", head, 12)[0]
    head[16:20] = bytes(4)
    struct.pack_into("<I", head, 16, zlib.crc32(bytes(head[:length])))
    disk.write(at, bytes(head))


def verb_hybrid(disk, start, count, kind):
    """A second entry in the protective MBR, as gdisk's `h` and Raspberry Pi tools make it."""
    disk.write(446 + 16, struct.pack("<BBBBBBBBII", 0, 0, 2, 0, int(kind, 16), 0xFF, 0xFF, 0xFF, number(start) // 512,
                                     number(count) // 512))


# ---- md: Linux drivers/md/md.c, include/uapi/linux/raid/md_p.h

def verb_md(disk, version, array, offset="0", size="0"):
    """md 0.90|1.0|1.1|1.2 UUID [OFFSET SIZE]: the first member of a two-disk mirror."""
    start, size = number(offset), number(size) or disk.size
    if version == "0.90":
        at = (size & ~0xFFFF) - 0x10000
        words = [0] * 1024
        ids = struct.unpack("<4I", identity(array))
        words[0:14] = [0xA92B4EFC, 0, 90, 0, 0, ids[0], 1700000000, 1, at // 1024, 2, 2, 0, 0, ids[1]]
        words[14:16] = ids[2:]
        words[32:38] = [1700000000, 1, 2, 2, 0, 0]
        words[39:41] = [7, 0]
        for disk_number in range(2):
            words[128 + 32 * disk_number:133 + 32 * disk_number] = [disk_number, 8, 16 * disk_number, disk_number, 6]
        words[992:997] = [0, 8, 0, 0, 6]
        words[38] = sum(words) & 0xFFFFFFFF
        # md folds the carry in.
        total = sum(words[:38] + words[39:])
        words[38] = ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF
        disk.write(start + at, struct.pack("<1024I", *words))
        return
    at = {"1.0": (size & ~0xFFF) - 0x2000, "1.1": 0, "1.2": 0x1000}[version]
    data_offset = 0 if version == "1.0" else 2048
    data_size = (at if version == "1.0" else size - (1 << 20)) // 512
    sb = bytearray(1024)
    struct.pack_into("<IIII", sb, 0, 0xA92B4EFC, 1, 0, 0)
    sb[16:32] = identity(array)
    sb[32:64] = b"old:0".ljust(32, b"\0")
    struct.pack_into("<QIIQII", sb, 64, 1700000000, 1, 0, data_size, 0, 2)
    struct.pack_into("<QQQQI", sb, 128, data_offset, data_size, at // 512, 0, 0)
    sb[168:184] = identity(array)
    struct.pack_into("<QQQ", sb, 192, 1700000000, 7, 0xFFFFFFFFFFFFFFFF)
    struct.pack_into("<I", sb, 220, 128)
    for role in range(128):
        struct.pack_into("<H", sb, 256 + 2 * role, role if role < 2 else 0xFFFF)
    total = sum(struct.unpack("<128I", sb[:512]))
    struct.pack_into("<I", sb, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
    disk.write(start + at, bytes(sb[:512]))


# ---- LVM2: lib/format_text/layout.h, lib/label/label.h

def verb_lvm(disk, offset, size, pv, group, *volumes):
    """lvm OFFSET SIZE PV-ID GROUP VOLUME[:TAG]...: a physical volume with one group; 32-character identifiers."""
    start, size = number(offset), number(size)

    def crc(data):
        return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    def dashed(name):
        return "-".join([name[:6], name[6:10], name[10:14], name[14:18], name[18:22], name[22:26], name[26:32]])

    mda, mda_size = 4096, (1 << 20) - 4096
    extents = (size - (1 << 20)) // (4 << 20)
    head = struct.pack("<32sQ", pv.encode(), size)
    head += struct.pack("<QQQQ", 1 << 20, 0, 0, 0) + struct.pack("<QQQQ", mda, mda_size, 0, 0)
    head += struct.pack("<IIQQ", 2, 1, 0, 0)
    body = struct.pack("<I8s", 32, b"LVM2 001") + head
    body = body.ljust(512 - 20, b"\0")
    disk.write(start + 512, b"LABELONE" + struct.pack("<QI", 1, crc(body)) + body)
    text = f'{group} {{\nid = "{dashed(group.ljust(32, "V"))}"\nseqno = 2\nformat = "lvm2"\nstatus = ["RESIZEABLE", "READ", '
    text += '"WRITE"]\nflags = []\nextent_size = 8192\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\n'
    text += f'physical_volumes {{\n\npv0 {{\nid = "{dashed(pv)}"\ndevice = "/dev/sdb"\n\nstatus = ["ALLOCATABLE"]\nflags = []\n'
    text += f'dev_size = {size // 512}\npe_start = 2048\npe_count = {extents}\n}}\n}}\n\nlogical_volumes {{\n'
    for index, volume in enumerate(volumes):
        name, _, tag = volume.partition(":")
        tags = f'tags = ["{tag}"]\n' if tag else ""
        text += f'\n{name} {{\nid = "{dashed(str(index).rjust(32, "L"))}"\nstatus = ["READ", "WRITE", "VISIBLE"]\nflags = []\n{tags}'
        text += 'creation_time = 1700000000\ncreation_host = "old"\nsegment_count = 1\n\nsegment1 {\nstart_extent = 0\n'
        text += f'extent_count = 64\n\ntype = "striped"\nstripe_count = 1\n\nstripes = [\n"pv0", {64 * index}\n]\n}}\n}}\n'
    text += '}\n}\n# Generated by LVM2 version 2.03.16(2) (2022-05-18)\n\ncontents = "Text Format Volume Group"\nversion = 1\n\n'
    text += 'description = ""\n\ncreation_host = "old"\ncreation_time = 1700000000\n\n'
    text = text.encode() + b"\0"
    area = b" LVM2 x[5A%r0N*>" + struct.pack("<IQQ", 1, mda, mda_size)
    area += struct.pack("<QQII", 512, len(text), crc(text), 0) + bytes(24)
    area = area.ljust(512 - 4, b"\0")
    disk.write(start + mda, struct.pack("<I", crc(area)) + area + text)


# ---- ZFS: "ZFS On-Disk Specification" (Sun, 2006), chapter 1; XDR of RFC 4506

def verb_zfs(disk, offset, size, pool, guid):
    """zfs OFFSET SIZE POOL GUID: all four labels of a vdev."""
    start, size, guid = number(offset), number(size) & ~0x3FFFF, int(guid)

    def text(value):
        return struct.pack(">I", len(value)) + value.encode() + bytes(-len(value) % 4)

    def pair(name, value):
        if isinstance(value, int):
            kind, count, data = 8, 1, struct.pack(">Q", value)
        elif isinstance(value, str):
            kind, count, data = 9, 1, text(value)
        else:
            kind, count, data = 19, 1, nvlist(value)
        body = text(name) + struct.pack(">II", kind, count) + data
        return struct.pack(">II", len(body) + 8, len(body) + 8) + body

    def nvlist(values):
        return struct.pack(">II", 0, 1) + b"".join(pair(k, v) for k, v in values.items()) + bytes(8)

    config = b"\1\1\0\0" + nvlist({
        "version": 5000, "name": pool, "state": 0, "txg": 1234, "pool_guid": guid, "hostid": 0x007F0101, "hostname": "old",
        "top_guid": guid + 1, "guid": guid + 1, "vdev_children": 1,
        "vdev_tree": {"type": "disk", "id": 0, "guid": guid + 1, "path": "/dev/sdb1", "ashift": 12, "asize": size - (9 << 19)},
    })
    for label in (0, 256 << 10, size - (512 << 10), size - (256 << 10)):
        at = start + label

        def sealed(data, place):
            data = data[:-40] + struct.pack("<Q", 0x0210DA7AB10C7A11) + struct.pack("<QQQQ", place - start, 0, 0, 0)
            words = struct.unpack(">4Q", hashlib.sha256(data).digest())
            return data[:-32] + struct.pack("<4Q", *words)

        disk.write(at + (16 << 10), sealed(config.ljust(112 << 10, b"\0"), at + (16 << 10)))
        for slot in range(8):
            block = struct.pack("<QQQQQ", 0x00BAB10C, 5000, 1227 + slot, guid, 1700000000)
            place = at + (128 << 10) + slot * 4096
            disk.write(place, sealed(block.ljust(4096, b"\0"), place))


# ---- Ceph: src/os/bluestore/bluestore_types.cc, bluestore_bdev_label_t

def verb_bluestore(disk, offset, size, osd, *copies):
    """bluestore OFFSET SIZE OSD-UUID COPY-OFFSET...: the label, and its copies where newer releases put them."""
    start, size = number(offset), number(size)
    meta = {"bfm_blocks": str(size // 4096), "ceph_fsid": "22222222-2222-4222-8222-222222222222", "kv_backend": "rocksdb",
            "magic": "ceph osd volume v026", "mkfs_done": "yes", "ready": "ready", "whoami": "3"}
    if copies:
        meta.update({"epoch": "1", "multi": "yes"})
    string = lambda value: struct.pack("<I", len(value)) + value.encode()
    payload = identity(osd) + struct.pack("<QII", size, 1700000000, 0) + string("main") + struct.pack("<I", len(meta))
    payload += b"".join(string(key) + string(meta[key]) for key in sorted(meta))
    body = b"bluestore block device\n" + osd.encode() + b"\n" + struct.pack("<BBI", 2, 1, len(payload)) + payload
    label = (body + struct.pack("<I", crc32c(body))).ljust(4096, b"\0")
    for copy in (0, *map(number, copies)):
        disk.write(start + copy, label)


# ---- SPDK: lib/blob/blobstore.h, struct spdk_bs_super_block (packed)

def verb_spdk(disk, offset, size):
    clusters = number(size) >> 22
    block = b"SPDKBLOB" + struct.pack("<IIIQI", 3, 4096, 1, (1 << 32) | 0, 4 << 20)
    block += struct.pack("<6I", 1, 1, 2, 1, 4, clusters) + b"LVOLSTORE".ljust(16, b"\0")
    block += struct.pack("<IIQI", 3, 1, number(size), 4096)
    block = block.ljust(4092, b"\0")
    disk.write(number(offset), block + struct.pack("<I", crc32c(block) ^ 0xFFFFFFFF))


# ---- Talos: internal/pkg/meta/internal/adv/talos/talos.go

def verb_talos_meta(disk, offset):
    block = bytearray(256 << 10)
    block[:4] = bytes.fromhex("5a4b3c2d")
    value = b'{"hostname":"talos-worker"}'
    block[4:12 + len(value)] = struct.pack(">II", 0x0A, len(value)) + value
    block[-4:] = bytes.fromhex("a5b4c3d2")
    block[-36:-4] = hashlib.sha256(block).digest()
    disk.write(number(offset), bytes(block) * 2)


# ---- Stratis: stratisd's static_header.rs

def verb_stratis(disk, offset, size):
    head = b"!Stra0tis\x86\xff\x02^\x41rh" + struct.pack("<Q4s32s32sQQQQ", number(size) // 512, b"", b"1" * 32, b"2" * 32,
                                                     2032, 0, 0, 1700000000)
    head = head.ljust(508, b"\0")
    block = struct.pack("<I", crc32c(head) ^ 0xFFFFFFFF) + head
    for sector in (1, 9):
        disk.write(number(offset) + sector * 512, block)


# ---- bcachefs: fs/bcachefs/bcachefs_format.h, struct bch_sb

def verb_bcachefs(disk, offset, size, internal, user):
    start, size = number(offset), number(size)
    places = [8, 2 << 11, size // 512 - (1 << 11)]
    for place in places:
        sb = bytearray(4096)
        struct.pack_into("<HH", sb, 16, 1025, 1025)
        sb[24:40] = bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")
        sb[40:56], sb[56:72] = identity(internal), identity(user)
        sb[72:104] = b"pool".ljust(32, b"\0")
        struct.pack_into("<QQHBBI", sb, 104, place, 5, 8, 0, 1, 0)
        layout = 752 - 512
        sb[layout:layout + 16] = bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")
        struct.pack_into("<BBB5x3Q", sb, layout + 16, 0, 11, len(places), *places)
        disk.write(start + place * 512, bytes(sb))


# ---- BitLocker: libyal "BitLocker Drive Encryption (BDE) format", sections 2 and 3

def verb_bitlocker(disk, offset, size):
    """The boot sector of Windows 7 and later, three FVE blocks, and cipher text over the rest of the first MiB."""
    start, blocks = number(offset), (0x2110000, 0x3110000, 0x4110000)
    sector = bytearray(512)
    sector[:11] = bytes.fromhex("eb5890") + b"-FVE-FS-"
    struct.pack_into("<HBH", sector, 11, 512, 8, 0)
    sector[0x15] = 0xF8
    struct.pack_into("<HHI", sector, 0x18, 63, 255, start // 512)
    sector[0xA0:0xB0] = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
    struct.pack_into("<3Q", sector, 0xB0, *blocks)
    sector[510:] = b"\x55\xaa"
    verb_noise(disk, str(start + 512), "1M")
    disk.write(start, bytes(sector))
    for block in blocks:
        head = b"-FVE-FS-" + struct.pack("<HHHHQII3QQ", 4, 2, 4, 4, number(size), 0, 16, *blocks, 0x5110000)
        head = head.ljust(64, b"\0")
        meta = struct.pack("<IIII", 48, 1, 48, 1) + uuid.UUID("33333333-3333-4333-8333-333333333333").bytes_le
        meta += struct.pack("<IHHQ", 5, 0x8004, 0, 133444736000000000)
        disk.write(start + block, (head + meta).ljust(65536, b"\0"))


def verb_refs(disk, offset, size):
    """libyal "Resilient File System (ReFS)", section 3: the volume header, and its copy in the last sector."""
    start, size = number(offset), number(size)
    sector = bytearray(512)
    sector[3:7], sector[16:20] = b"ReFS", b"FSRS"
    struct.pack_into("<HHQIIBB", sector, 20, 512, 0, size // 512, 512, 128, 3, 4)
    struct.pack_into("<Q", sector, 56, 0x1111222233334444)
    total = 0
    for byte in sector[3:22] + sector[24:512]:
        total = ((total << 15 | total >> 1) + byte) & 0xFFFF
    struct.pack_into("<H", sector, 22, total)
    for place in (0, size - 512):
        disk.write(start + place, bytes(sector))


# ---- Windows dynamic disks: Linux block/partitions/ldm.c

def verb_ldm(disk, privhead, config, size):
    """ldm PRIVHEAD-OFFSET CONFIG-OFFSET DISK-SIZE: private header, tables of contents, the database's header."""
    config, head = number(config), bytearray(512)
    head[:8] = b"PRIVHEAD"
    struct.pack_into(">IHH", head, 8, 0x2F96, 2, 12)
    head[0x30:0x54] = b"44444444-4444-4444-8444-444444444444"
    head[0x70:0x94] = b"55555555-5555-4555-8555-555555555555"
    head[0xB0:0xC4] = b"66666666-6666-4666-8"[:20]
    head[0xF0:0xF7] = b"OLDDg0\0"
    struct.pack_into(">QQQQ", head, 0x11B, 63, number(size) // 512 - 63 - 2048, config // 512, 2048)
    disk.write(number(privhead), bytes(head))
    for place in (1856, 2047):
        disk.write(config + place * 512, bytes(head))
    toc = bytearray(512)
    toc[:8] = b"TOCBLOCK"
    toc[0x24:0x2A], toc[0x46:0x49] = b"config", b"log"
    struct.pack_into(">QQ", toc, 0x2E, 17, 1481)
    struct.pack_into(">QQ", toc, 0x50, 1498, 224)
    for place in (1, 2, 2045, 2046):
        disk.write(config + place * 512, bytes(toc))
    database = bytearray(512)
    struct.pack_into(">4sIIIHHH", database, 0, b"VMDB", 4, 128, 512, 1, 4, 10)
    disk.write(config + 17 * 512, bytes(database))


# ---- HFS+: Apple TN1150

def verb_hfsplus(disk, offset, size):
    start, size = number(offset), number(size)
    head = bytearray(512)
    struct.pack_into(">2sHI4sI", head, 0, b"H+", 4, 0x100, b"10.0", 0)
    struct.pack_into(">IIIIIIIII", head, 16, 3700000000, 3700000000, 0, 0, 5, 2, 4096, size // 4096, size // 4096 - 10)
    struct.pack_into(">Q", head, 104, 0x1122334455667788)
    for place in (1024, size - 1024):
        disk.write(start + place, bytes(head))


# ---- VMware: libblkid's vmfs.c is the only public description

def verb_vmfs(disk, offset):
    start = number(offset)
    disk.write(start + (1 << 20), struct.pack("<II", 0xC001D00D, 5).ljust(0x82, b"\0") + identity("77777777-7777-4777-8777-777777777777"))
    disk.write(start + (2 << 20), struct.pack("<IIB", 0x2FABF15E, 14, 5) + identity("88888888-8888-4888-8888-888888888888") + b"\0" * 4 + b"datastore1")


# ---- Oracle ASM: the disk header's first block

def verb_asm(disk, offset):
    block = bytearray(4096)
    block[:4] = bytes([1, 0x82, 1, 1])
    block[32:48] = b"ORCLDISKDATA0001"
    block[72:81] = b"DATA_0001"
    block[104:108] = b"DATA"
    disk.write(number(offset), bytes(block))


# ---- firmware RAID

def verb_isw(disk):
    """Intel Matrix RAID: two sectors before the end."""
    block = b"Intel Raid ISM Cfg Sig. 1.3.00".ljust(32, b"\0") + struct.pack("<IIII", 0, 480, 0x12345678, 7)
    disk.write(-1024, block.ljust(1024, b"\0"))


def verb_ddf(disk):
    """SNIA DDF 2.0, section 4.4: the anchor in the last sector, and the header that it points to."""
    primary = disk.size // 512 - 65536
    for sector, kind in ((primary, 1), (disk.size // 512 - 1, 0)):
        block = bytearray(b"\xff" * 512)
        block[0:8] = bytes.fromhex("de11de11ffffffff")
        block[8:40] = b"Dell    " + bytes.fromhex("10000079" "10281f15" "47114711" "00000001") + b"02.00.00"
        block[40:52] = struct.pack(">IIBBBB", 1, 1700000000, 0xFF, 0, 0, 0xFF)
        struct.pack_into(">QQB", block, 96, primary, 0xFFFFFFFFFFFFFFFF, kind)
        struct.pack_into(">I", block, 4, zlib.crc32(bytes(block)))
        disk.write(sector * 512, bytes(block))


def verb_drbd8(disk, current):
    """DRBD 8.4: user/shared/drbdmeta.c, struct md_on_disk_08; drbdmeta itself writes the same, as root only."""
    block = struct.pack(">QQ24xQQII", disk.size // 512 - 328, int(current, 16), 0x1122334455667788, 0, 0, 0x8374026B)
    block += struct.pack(">IiIiIIII", 328, -64, 257, -320, 4096, 0, 1, 8)
    disk.write(-4096, block.ljust(4096, b"\0"))


def verb_drbd9(disk, current):
    """DRBD 9: drbd-headers/drbd_meta_data.h, in the last 4 KiB."""
    block = struct.pack(">QQ32xQII", disk.size // 512 - 2048, int(current, 16), 0x1122334455667788, 0, 0x8374026D)
    block += struct.pack(">IiIiIIIiII", 2048, -8, 1237, -2048 + 72, 4096, 1 << 20, 1, 0, 1, 8)
    disk.write(-4096, block.ljust(4096, b"\0"))


if __name__ == "__main__":
    globals()["verb_" + sys.argv[1].replace("-", "_")](Disk(sys.argv[2]), *sys.argv[3:])
