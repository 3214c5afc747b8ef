"""One process tree's time and memory, as the kernel counts them."""

import os
import statistics
import subprocess
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


def measure(command, stdout, stderr, environment=None):
    """Runs a command to its end. Raises CalledProcessError."""
    load = os.getloadavg()[0]
    with open(stdout, "wb") as out, open(stderr, "wb") as err:
        started = time.monotonic()
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   env={**os.environ, **(environment or {})})
        # Not resource.getrusage(RUSAGE_CHILDREN), whose peak is that of everything that ever ran.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measurement(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, load)


def median(records, key):
    return statistics.median(record[key] for record in records)
