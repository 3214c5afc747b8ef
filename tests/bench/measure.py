"""One process tree's time and memory, as the kernel counts them."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass


@dataclass
class Measurement:
    """Seconds of wall clock and of processors (user and system, all descendants), the largest resident size of one
    process of the tree in bytes, and the load when it began."""

    wall: float
    cpu: float
    peak: int
    load: float

    def record(self):
        return asdict(self)


def measure(command, stdout, stderr):
    """Runs a command to its end. Raises CalledProcessError."""
    words = [str(word) for word in command]
    # Not from this process: a child's peak begins with its parent's size (fs/exec.c, exec_mmap), so the parent must be
    # a small one.
    helper = [sys.executable, "-I", __file__, str(stdout), str(stderr), *words]
    done = subprocess.run(helper, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    said = json.loads(done.stdout)
    if said["code"] != 0:
        raise subprocess.CalledProcessError(said["code"], words)
    return Measurement(said["wall"], said["cpu"], said["peak"], said["load"])


def main(stdout, stderr, *command):
    load = os.getloadavg()[0]
    with open(stdout, "wb") as out, open(stderr, "wb") as err:
        started = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
    code = process.returncode = os.waitstatus_to_exitcode(status)
    # The kernel counts in KiB.
    said = {"code": code, "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss << 10, "load": load}
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
