"""The programs that prejoin is measured beside: installed where they are missing, and named with their versions."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

SEARCH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def install(tools, files=()):
    """Installs what is missing of `tools` (command to Debian package) and `files` (path and package)."""
    missing = {package for command, package in tools.items() if not shutil.which(command, path=SEARCH)}
    missing.update(package for path, package in files if not Path(path).exists())
    if not missing:
        return
    print(f"installing {' '.join(sorted(missing))}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(["apt-get", "update", "-q"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *sorted(missing)],
                       check=True, env=environment)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{error}\nnot there: {', '.join(sorted(missing))}; install them by hand") from error


def versions(tools):
    """What each command says it is, and the package that it comes from."""
    return [f"{command} {version(command)}" for command in sorted(tools)]


def version(command):
    """The version of a command's Debian package; of what came another way, its own words."""
    path = shutil.which(command, path=SEARCH)
    # Through the links of the merged /usr, whose other name dpkg may know.
    names = {path, os.path.realpath(path), f"/usr{path}", path.removeprefix("/usr")}
    for name in sorted(names):
        owner = output("dpkg-query", "--search", name).split(":")[0]
        if owner:
            known = output("dpkg-query", "--show", "--showformat=${Package} ${Version}", owner)
            return f"(Debian {known})"
    said = (output(path, "--version") or output(path, "-V")).splitlines()
    return f"(not Debian's: {said[0] if said else path})"


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def processor():
    """The machine's processor, as it calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
