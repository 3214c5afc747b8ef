"""Running another architecture's programs, which only the peer needs: qemu-user and binfmt_misc."""

import os
import shutil
import subprocess
from pathlib import Path

BINFMT = Path("/proc/sys/fs/binfmt_misc")
NAME = "qemu-aarch64"
# ELF, 64 bits, little endian, executable or shared object, AArch64; as in QEMU's scripts/qemu-binfmt-conf.sh.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


class Unavailable(Exception):
    """Why programs of arm64 cannot be run here."""


class Arm64:
    """While entered, programs for arm64 run; what was set up for that is undone at the end."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.version = None
        self._mounted = self._registered = False

    def __enter__(self):
        try:
            self._enter()
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            raise Unavailable(str(error)) from error
        except Unavailable:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._registered:
            (BINFMT / NAME).write_text("-1")
        if self._mounted:
            subprocess.run(["umount", BINFMT], check=True)
        self._registered = self._mounted = False

    def _enter(self):
        if not (BINFMT / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True)
            self._mounted = True
        if (BINFMT / NAME).exists():
            words = (BINFMT / NAME).read_text().split()
            if "enabled" not in words or "F" not in words[words.index("flags:") + 1]:
                raise Unavailable(f"{BINFMT / NAME} is there, but not enabled with flag F")
            interpreter = words[words.index("interpreter") + 1]
        else:
            interpreter = self._interpreter()
            # P: the program sees its own argv[0]; O: it is opened for the interpreter; F: the interpreter is opened
            # now, so that it is found in every root.
            (BINFMT / "register").write_text(f":{NAME}:M::{MAGIC}:{MASK}:{interpreter}:POF")
            self._registered = True
        shown = subprocess.run([interpreter, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
        self.version = shown.splitlines()[0]

    def _interpreter(self):
        """QEMU's static user emulation: this machine's, or out of the newest package that its apt knows."""
        installed = shutil.which("qemu-aarch64-static")
        if installed:
            return installed
        tree = self.folder / "qemu"
        found = tree / "usr/bin/qemu-aarch64-static"
        if not found.exists():
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir(parents=True)
            # Since QEMU 9 the static programs are in qemu-user, and qemu-user-static has links to them.
            listed = subprocess.run(["apt-cache", "madison", "qemu-user-static"], check=True, stdout=subprocess.PIPE,
                                    text=True).stdout
            versions = [line.split("|")[1].strip() for line in listed.splitlines()]
            if not versions:
                raise Unavailable("apt knows no package qemu-user-static")
            for package in ("qemu-user-static", "qemu-user"):
                subprocess.run(["apt-get", "-q", "download", f"{package}={versions[0]}"], check=True, cwd=tree,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for deb in sorted(tree.glob("*.deb")):
                subprocess.run(["dpkg-deb", "-x", deb, tree], check=True)
        if not os.access(found, os.X_OK):
            raise Unavailable("no qemu-aarch64-static in QEMU's packages")
        return found
