"""The figures as Markdown, for docs/benchmarks.md."""

from statistics import median

# job -> what it is called, the job it is compared with, and how many times faster it should be.
ROWS = {
    "floor amd64": ("decompress the packages, one process", None, None),
    "peer amd64": ("mmdebstrap + mke2fs -d + GPT, amd64", None, None),
    "first amd64": ("prejoin, first build, amd64", "peer amd64", 10),
    "export amd64": ("… and export of the raw image (in addition)", None, None),
    "changed libssl3t64": ("prejoin, one library changed", "peer amd64", 40),
    "changed containerd": ("prejoin, containerd changed", "peer amd64", 40),
    "unchanged": ("prejoin, nothing changed", "peer amd64", None),
    "first amd64, 100 nodes": ("prejoin, first build, 100 nodes", None, None),
    "peer arm64": ("mmdebstrap + mke2fs -d + GPT, arm64 under qemu-user", None, None),
    "first arm64": ("prejoin, first build, arm64", "peer arm64", 80),
}


def markdown(results):
    """All of it; jobs that did not run are left out."""
    jobs = {name: records for name, records in results["jobs"].items() if records}
    lines = ["| job | runs | s | from – to | CPU s | peak MiB | times faster (CPU) | wanted |",
             "|---|--:|--:|--:|--:|--:|--:|--:|"]
    lines += [row(name, jobs) for name in ROWS if name in jobs]
    return "\n".join([*lines, "", *nodes(jobs), *packages(jobs), *stages(jobs), *changes(results), *machine(results, jobs)]) + "\n"


def row(name, jobs):
    records = jobs[name]
    label, peer, wanted = ROWS[name]
    wall = [record["wall"] for record in records]
    ratio = ""
    if peer in jobs:
        ratio = f"{of(jobs, peer, 'wall') / median(wall):.1f} ({of(jobs, peer, 'cpu') / of(jobs, name, 'cpu'):.1f})"
    spread = f"{min(wall):.2f} – {max(wall):.2f}" if len(wall) > 1 else ""
    cells = [label, len(records), f"{median(wall):.2f}", spread, f"{of(jobs, name, 'cpu'):.2f}",
             f"{max(record['peak'] for record in records) / 2**20:.0f}", ratio, f"{wanted}" if wanted else ""]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def of(jobs, name, key):
    return median(record[key] for record in jobs[name])


def nodes(jobs):
    """What a node costs beside the first of its kind."""
    records = jobs.get("first amd64, 100 nodes")
    if not records:
        return []
    times = sorted(time for record in records for time in record["node_milliseconds"])
    sizes = sorted(size for record in records for size in record["node_bytes"])
    lines = [
        f"- Each further node: {median(times):.0f} ms (at most {times[-1]}; wanted: under 100 ms), "
        f"{median(sizes) / 1000:.0f} kB new (at most {sizes[-1] / 1000:.0f} kB; wanted: under 2 MB).",
    ]
    if "first amd64" in jobs:
        ratio = of(jobs, "first amd64, 100 nodes", "wall") / of(jobs, "first amd64", "wall")
        lines.append(f"- 100 nodes take {ratio:.2f} times as long as one (wanted: less than 2).")
    ours = [record["peak"] for name, runs in jobs.items() if not name.startswith(("peer", "floor")) for record in runs]
    lines.append(f"- Peak memory of prejoin over all jobs: {max(ours) / 1e6:.0f} MB (wanted: under 400 MB).")
    return lines


def packages(jobs):
    """Whether both sides had the same packages."""
    lines = []
    for name, records in jobs.items():
        if name.startswith("peer"):
            record = records[-1]
            same = not record["peer_only"] and not record["ours_only"]
            lines.append(f"- {name.removeprefix('peer ')}: {record['packages']} packages, "
                         + ("the same names and versions on both sides." if same else
                            f"only the peer's: {', '.join(record['peer_only']) or 'none'}; "
                            f"only ours: {', '.join(record['ours_only']) or 'none'}."))
    return lines


def stages(jobs):
    """Where the peer's time goes."""
    lines = []
    for name, records in jobs.items():
        if name.startswith("peer"):
            parts = (f"{stage} {median(record['stages'][stage] for record in records):.1f} s" for stage in records[0]["stages"])
            lines.append(f"- {name}: {', '.join(parts)}.")
    return lines


def changes(results):
    return [f"- Changed package {change['name']}: {change['size'] / 1e6:.1f} MB packed, its largest file differs."
            for change in results["changes"]]


def machine(results, jobs):
    facts = results["machine"]
    loads = [record["load"] for records in jobs.values() for record in records]
    # The jobs themselves keep about as many processors busy as there are.
    busy = " **The machine was busy: take these figures as a try.**" if max(loads) > facts["cores"] + 1.5 else ""
    return [
        f"- Machine: {facts['cores']} × {facts['processor']}, {facts['memory'] / 2**30:.0f} GiB, {facts['kernel']}, "
        f"{facts['file_system']}; load before a job {min(loads):.1f} to {max(loads):.1f}.{busy}",
        f"- {facts['prejoin']}, beside {'; '.join(facts['peers'])}"
        + (f"; {facts['emulator']}" if facts["emulator"] else "") + ".",
        f"- Packages: Debian trixie, main, as of {facts['snapshot']}.",
    ]
