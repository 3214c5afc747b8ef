"""The cluster files of the benchmark, with an operating system that wants the peer's packages and leaves nothing out."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from mirror import COMPONENT, SUITE

OS = "bench-187"

# The benchmark's set, plus what makes an image start: the kernel is the board's.
PACKAGES = (
    "systemd-sysv", "udev", "dbus", "kmod", "initramfs-tools", "containerd", "cloud-init", "iproute2",
    "ca-certificates", "openssh-server", "systemd-resolved", "zstd",
)
BOOT = ("systemd-boot-efi",)

# A machine with UEFI and virtio disks, without the firmware packages of the boards that come with the program.
BOARD = """\
name: bench-{architecture}
description: The benchmark's machine
architecture: {architecture}
firmware: uefi
sector_sizes: [512]
battery_clock: true
kernel:
  {os}:
    package: linux-image-{architecture}
packages: [{boot}]
initramfs_modules:
  [nvme, ahci, sd_mod, virtio_pci, virtio_blk, virtio_scsi, virtio_net, ext4, dm_verity, overlay, vfat, nls_cp437,
   nls_ascii, loop, efivarfs]
"""

CLUSTER = """\
name: bench
id: 7c1f0a52-3b0e-4c8b-9a55-0d8f6f3a1e01
os: {os}

kubernetes:
  distribution: none

network:
  subnet: 10.20.0.0/16
  gateway: 10.20.0.1
  dns: [10.20.0.1]

defaults:
  board: bench-{architecture}
  disk: {{ min_size: 20 GB }}

nodes:
"""


def write(folder, architecture, nodes, base, packages, accepted=()):
    """A cluster file with its profiles. `base` is the profile whose recipes are used; `packages` are all names that
    the peer installs before dependencies are counted."""
    folder = Path(folder)
    for kind in ("os", "boards"):
        (folder / "profiles" / kind).mkdir(parents=True, exist_ok=True)
    (folder / "profiles/os" / f"{OS}.yaml").write_text(operating_system(base, packages))
    board = BOARD.format(architecture=architecture, os=OS, boot=", ".join(BOOT))
    (folder / "profiles/boards" / f"bench-{architecture}.yaml").write_text(board)
    text = CLUSTER.format(architecture=architecture, os=OS)
    for number in range(1, nodes + 1):
        address, mac = f"10.20.1.{number}", f"52:54:00:20:01:{number:02x}"
        text += f'  - {{ name: node{number}, address: {address}, mac: "{mac}" }}\n'
    if accepted:
        text += "\naccept_scripts:\n" + "".join(f"  - {line}\n" for line in accepted)
    (folder / "cluster.yaml").write_text(text)


def operating_system(base, packages):
    """The profile `base` with other packages and without everything that would make an image smaller than the
    peer's: it waives no dependency, excludes no file and prunes no module. It cannot inherit, as lists only grow."""
    own = {
        "name": f"name: {OS}\n",
        "description": "description: The benchmark's packages, all of each\n",
        "repositories": "",
        "packages": "packages:\n" + "".join(f"  - {name}\n" for name in packages),
        "waive": "", "exclude": "", "keep": "", "pruned_modules": "", "required_modules": "",
    }
    blocks = re.split(r"^(?=[a-z_]+:)", Path(base).read_text(), flags=re.M)
    kept = {block.split(":", 1)[0]: block for block in blocks}
    keys = re.search(r"keys: &\w+\n((?:\s+- .*\n)+)", kept["repositories"]).group(1)
    own["repositories"] = (f"repositories:\n  main:\n    archive: debian\n    suite: {SUITE}\n"
                           f"    components: [{COMPONENT}]\n    keys:\n{keys}")
    return "".join(own.get(key, block) for key, block in kept.items() if key in own or ":" in block)


def scripts(stderr):
    """The lines for `accept_scripts` in what a build says about scripts that it does not know."""
    return re.findall(r"^ +- (\S+/\w+@sha256:[0-9a-f]{64})$", stderr, re.M)


def locked(folder):
    """Packages of a lock as {(name, version)}. There is one system in it."""
    text = (Path(folder) / "prejoin.lock").read_text()
    listed = re.search(r"^sets:\n(?:  .*\n)+?    packages:\n((?:    - .*\n)+)", text, re.M).group(1)
    return {tuple(line.removeprefix("    - ").rsplit("_", 2)[:2]) for line in listed.splitlines()}


def change(source, target, name, cache, scratch, every=False):
    """Makes `target` the cluster `source` after an update of the package `name`: the same package with a higher version
    and other bytes at the end of its largest file (or in every block of `every` file), put into the cache's downloads and
    into a copy of the lock."""
    source, target, scratch = Path(source), Path(target), Path(scratch)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    lock = target / "prejoin.lock"
    text = lock.read_text()
    entry = re.search(rf"^  {re.escape(name)}_(\S+)_(\w+):\n    archive: .*\n    path: (\S+)\n"
                      rf"    size: (\d+)\n    sha256: (\w+)\n", text, re.M)
    version, architecture, path, size, digest = entry.groups()
    made, files = repack(download(cache, digest), version + "+bench1", scratch, every)
    data = made.read_bytes()
    new = hashlib.sha256(data).hexdigest()
    kept = download(cache, new)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, kept)
    changed = entry.group(0).replace(f"_{version}_", f"_{version}+bench1_").replace(f"size: {size}", f"size: {len(data)}")
    text = text.replace(entry.group(0), changed.replace(digest, new))
    lock.write_text(text.replace(f"- {name}_{version}_{architecture}\n", f"- {name}_{version}+bench1_{architecture}\n"))
    shutil.rmtree(scratch)
    return {"name": name, "version": version, "size": len(data), "digest": new, "files": files}


def download(cache, digest):
    """Where the cache keeps a download."""
    return Path(cache) / "sha256" / digest[:2] / digest


def repack(deb, version, scratch, every):
    """A package with another version and another content of its largest file, or of every file; and how many files
    that are."""
    shutil.rmtree(scratch, ignore_errors=True)
    tree = scratch / "tree"
    scratch.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.M))
    files = [f for f in tree.rglob("*") if f.is_file() and not f.is_symlink() and "DEBIAN" not in f.parts]
    changed = files if every else [max(files, key=lambda file: (file.stat().st_size, file))]
    for file in changed:
        content = bytearray(file.read_bytes())
        if every:
            for at in range(0, len(content), 4096):
                content[at] ^= 1
        file.write_bytes(content + b"changed by the benchmark\n")
    sums = tree / "DEBIAN/md5sums"
    if sums.exists():
        lines = (line.split("  ", 1) for line in sums.read_text().splitlines())
        digests = ((hashlib.md5((tree / name).read_bytes()).hexdigest(), name) for _, name in lines)
        sums.write_text("".join(f"{digest}  {name}\n" for digest, name in digests))
    target = scratch / "changed.deb"
    quiet = {"stdout": subprocess.DEVNULL}
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "-b", tree, target], check=True, **quiet)
    return target, len(changed)
