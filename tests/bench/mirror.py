"""A part of Debian's archive on the local disk, as Debian signed it: the real InRelease and Packages files, and the
packages of the benchmark only. Both sides read from it, so both see one snapshot and no network."""

import hashlib
import lzma
import os
import re
import subprocess
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SUITE = "trixie"
COMPONENT = "main"
ARCHITECTURES = ("amd64", "arm64")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Mirror:
    """`root` is what a sources.list line names; `packages[architecture][name]` are records of the Packages file;
    `base[architecture]` are names."""

    def __init__(self, folder):
        self.root = Path(folder)
        self.packages, self.base = {}, {}

    def fill(self, seeds):
        """Fetches the indexes once, resolves `seeds` (names by architecture) with apt, fetches what is missing."""
        upstream = None
        for architecture in ARCHITECTURES:
            if not (self.root / index(architecture)).exists():
                upstream = upstream or host_mirror()
                self._fetch_indexes(upstream)
                break
        wanted = {}
        for architecture in ARCHITECTURES:
            with lzma.open(self.root / index(architecture), "rt", encoding="utf-8") as lines:
                records = {record["Package"]: record for record in parse(lines)}
            # Beside apt, this is what mmdebstrap's variant minbase has.
            self.base[architecture] = sorted(
                name for name, r in records.items() if r.get("Essential") == "yes" or r.get("Priority") == "required")
            resolved = self._resolve(architecture, seeds[architecture])
            self.packages[architecture] = {name: records[name] for name in resolved}
            wanted.update((records[name]["Filename"], records[name]) for name in resolved)
        missing = [record for record in wanted.values() if not (self.root / record["Filename"]).exists()]
        if missing:
            upstream = upstream or host_mirror()
            print(f"fetching {len(missing)} packages from {upstream}", flush=True)
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda record: self._fetch(upstream, record["Filename"], record["SHA256"]), missing))

    def path(self, architecture, name):
        """The package file of a name."""
        return self.root / self.packages[architecture][name]["Filename"]

    def date(self):
        """The snapshot's date, as its InRelease says."""
        text = (self.root / "dists" / SUITE / "InRelease").read_text()
        return re.search(r"^Date: (.*)$", text, re.M).group(1)

    def _fetch_indexes(self, upstream):
        release = f"dists/{SUITE}/InRelease"
        self._fetch(upstream, release, None)
        text = (self.root / release).read_text()
        for architecture in ARCHITECTURES:
            name = index(architecture).removeprefix(f"dists/{SUITE}/")
            digest = re.search(rf"^ ([0-9a-f]{{64}}) +\d+ {re.escape(name)}$", text, re.M).group(1)
            self._fetch(upstream, index(architecture), digest)
            # Clients that follow `Acquire-By-Hash: yes` ask for the same bytes by their digest.
            by_hash = self.root / Path(index(architecture)).parent / "by-hash" / "SHA256" / digest
            by_hash.parent.mkdir(parents=True, exist_ok=True)
            by_hash.unlink(missing_ok=True)
            os.link(self.root / index(architecture), by_hash)

    def _fetch(self, upstream, name, digest):
        """One file; without a digest its signature is left to the tools that are measured."""
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        address = f"{upstream}/{urllib.parse.quote(name)}"
        data = read(address)
        if digest and hashlib.sha256(data).hexdigest() != digest:
            raise SystemExit(f"{address}: not what the archive's index says; is the mirror in the middle of an update?")
        partial = target.with_name(target.name + ".partial")
        partial.write_bytes(data)
        partial.rename(target)

    def _resolve(self, architecture, names):
        """Every package that apt would install into an empty system, as mmdebstrap's variant minbase starts it."""
        apt = self.root.parent / f"apt-{architecture}"
        for folder in ("etc/apt/preferences.d", "parts", "lists/partial", "cache/archives/partial", "dpkg"):
            (apt / folder).mkdir(parents=True, exist_ok=True)
        (apt / "dpkg/status").write_text("")
        source = f"deb [arch={architecture} signed-by={KEYRING}] copy:{self.root} {SUITE} {COMPONENT}\n"
        (apt / "etc/apt/sources.list").write_text(source)
        options = {
            "APT::Architecture": architecture, "APT::Architectures": architecture,
            "APT::Install-Recommends": "false", "APT::Sandbox::User": "root", "Acquire::Languages": "none",
            "Dir::Etc": f"{apt}/etc/apt", "Dir::Etc::parts": f"{apt}/parts", "Dir::Etc::main": "none",
            "Dir::State": f"{apt}", "Dir::State::status": f"{apt}/dpkg/status", "Dir::Cache": f"{apt}/cache",
        }
        # Not as flags: apt would first read this machine's own settings.
        (apt / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in options.items()))
        environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "LC_ALL": "C.UTF-8"}
        subprocess.run(["apt-get", "-q", "update"], check=True, stdout=subprocess.DEVNULL, env=environment)
        command = ["apt-get", "-s", "-q", "install", "apt", *self.base[architecture], *names]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        return sorted(re.findall(r"^Inst (\S+)", done.stdout, re.M))


def index(architecture):
    """Path of an architecture's list of packages."""
    return f"dists/{SUITE}/{COMPONENT}/binary-{architecture}/Packages.xz"


def parse(lines):
    """Records of a Packages file, the fields of the benchmark only. A suite has one version of each package."""
    fields = ("Package", "Version", "Essential", "Priority", "Filename", "SHA256")
    record = {}
    for line in lines:
        key, colon, value = line.rstrip("\n").partition(": ")
        if colon and key in fields:
            record[key] = value
        elif not key and record:
            yield record
            record = {}
    if record:
        yield record


def read(address):
    """The bytes at an address; a network that stumbles gets a second chance, a missing file does not."""
    for pause in (1, 3, 9, None):
        try:
            with urllib.request.urlopen(address, timeout=60) as response:
                return response.read()
        except OSError as error:
            if pause is None or getattr(error, "code", None) == 404:
                raise SystemExit(f"{address}: {error}") from error
            time.sleep(pause)
    return None


def host_mirror():
    """Where this machine's apt finds Debian."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(ORIGIN)"],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in listed.splitlines():
        site, release, *origin = line.split(maxsplit=2)
        if origin == ["Debian"] and "-" not in release:
            return site.rstrip("/")
    raise SystemExit("no Debian mirror in this machine's apt settings")
