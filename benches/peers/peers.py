#!/usr/bin/env python3
"""The same work on elemgrad, NumPy, numexpr and PyTorch, on one machine in one run: speed, and how much is wrong.

    pip install -r requirements.txt
    python peers.py [--elements N] [--dtype f32|f16|bf16] [--elemgrad COMMAND] [--json]

Each program runs its functions of programs.py on the operands of data.py, in memory that it has touched before.
exact.py gives the right results. Programs take turns, and a time is the median of a program's calls. Bytes are counted
as `elemgrad bench` counts them, whatever a program moves: each input is read once, each output is written once.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import sys
from datetime import date
from pathlib import Path

import numpy as np

import data
import exact
import programs
from contestants import PASSES, Elemgrad, Peer, bytes_per_element, elemgrads
from exact import TYPES, Type

SEED = 1
# Rounds of the peers' calls, before elemgrad's own bench and again after it.
ROUNDS = 5

Contestants = list[Elemgrad | Peer]
# Program, device, and op with pass.
Key = tuple[str, str, str]


def main():
    args = arguments()
    load = os.getloadavg()[0]
    t = TYPES[args.dtype]
    contestants, versions, left_out = assemble(args.elemgrad, t)
    if not any(c.works for c in contestants):
        sys.exit(f"nothing to measure: {'; '.join(left_out)}")
    samples = {
        "mix": data.mix(t, args.checked, SEED),
        # Last, because the operands that are loaded are the ones that are timed.
        "ordinary": data.ordinary(t, args.elements, SEED),
    }
    differing = {
        name: check(contestants, operands, args.elements, args.checked, t) for name, operands in samples.items()
    }
    measure(contestants)
    copies = {}
    for c in contestants:
        copies[c.device] = max(copies.get(c.device, 0.0), c.copy_bytes_per_second())
    report = {
        "command": shlex.join(["python", "benches/peers/peers.py", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "hardware": {"cpu": cpu()} | {c.device: c.hardware for c in contestants if c.device == "gpu"},
        # The load in the minute before this run. On a busy machine, programs that wait for all their threads suffer
        # most.
        "load": load,
        "versions": {"Python": platform.python_version()} | versions,
        "left_out": left_out,
        "dtype": t.name,
        "elements": args.elements,
        "checked": args.checked,
        "copy_bytes_per_second": copies,
        "rows": [row(c, work, args.elements, copies[c.device], differing, t) for c in contestants for work in c.works],
    }
    print(json.dumps(report, indent=2) if args.json else markdown(report))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--elements", type=positive, default=1 << 24, metavar="N", help="of each call (%(default)s)")
    add("--checked", type=positive, default=1 << 20, metavar="N",
        help="how many of them are compared with the exact results (%(default)s)")
    add("--dtype", choices=TYPES, default="f32")
    add("--elemgrad", metavar="COMMAND", help="unless told, this clone's release build")
    add("--json", action="store_true", help="one JSON value instead of tables")
    args = parser.parse_args()
    args.checked = min(args.checked, args.elements)
    if args.elemgrad and not shutil.which(args.elemgrad):
        parser.error(f"there is no command {args.elemgrad}")
    return args


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def assemble(command: str | None, t: Type) -> tuple[Contestants, dict[str, str], list[str]]:
    """The contestants, their versions, and what is left out for which reason."""
    built = Path(__file__).resolve().parents[2] / "target/release/elemgrad"
    if found := shutil.which(command or built):
        ours, versions, left_out = elemgrads(found, t)
    else:
        ours, versions, left_out = [], {}, ["elemgrad: not built (cargo build --release --features cli)"]
    peers, packages, missing = programs.every(t)
    return ours + [Peer(p, t) for p in peers], versions | packages, left_out + missing


def check(
    contestants: Contestants, operands: data.Operands, elements: int, checked: int, t: Type
) -> dict[Key, int]:
    """The number of elements, among the first ones, with an output that is not exact."""
    progress("the exact results")
    answers = exact.results(**{name: values[:checked] for name, values in operands.items()}, t=t)
    # Short data is repeated to full length, so the code that is checked is the code that is timed.
    whole = {name: np.resize(values, elements) for name, values in operands.items()}
    outputs = {name: np.empty(elements, t.storage) for name in ("z", "dx", "dy")}
    counts = {}
    for c in contestants:
        # No program may pass off the outputs of the one before it. All ones are a NaN of every type.
        for values in outputs.values():
            values.view(np.uint8).fill(0xFF)
        c.load(whole | outputs)
        for work in c.works:
            progress(f"{c.name} on the {c.device}: {work}")
            wrong = np.zeros(checked, bool)
            for name, got in zip(PASSES[work][1], c.results(work), strict=True):
                wrong |= exact.differing(got[:checked], answers[f"{work.split()[0]} {name}"], t)
            counts[c.name, c.device, work] = int(wrong.sum())
    return counts


def measure(contestants: Contestants):
    peers = [c for c in contestants if isinstance(c, Peer)]
    ours = [c for c in contestants if isinstance(c, Elemgrad)]
    for part in (peers * ROUNDS, ours, peers * ROUNDS):
        progress("timing elemgrad" if part is ours else "timing the peers")
        for c in part:
            c.time()


def row(
    c: Elemgrad | Peer, work: str, elements: int, copy: float, differing: dict[str, dict[Key, int]], t: Type
) -> dict:
    op, pass_ = work.split()
    seconds = c.seconds()[work]
    speed = elements * bytes_per_element(work, t) / seconds
    return {
        "program": c.name,
        "device": c.device,
        "op": op,
        "pass": pass_,
        "bytes_per_element": bytes_per_element(work, t),
        "seconds": seconds,
        "ns_per_element": seconds / elements * 1e9,
        "bytes_per_second": speed,
        "ratio_to_copy": speed / copy,
        "differing": {name: counts[c.name, c.device, work] for name, counts in differing.items()},
    }


def markdown(report: dict) -> str:
    rows = {}
    for r in report["rows"]:
        rows.setdefault((r["program"], r["device"]), {})[f"{r['op']} {r['pass']}"] = r
    several = len(report["hardware"]) > 1
    names = {key: f"{key[0]} ({key[1].upper()})" if several else key[0] for key in rows}

    def table(cell) -> list[str]:
        heading = ["", *(f"`{work.split()[0]}` {work.split()[1]}" for work in PASSES)]
        lines = [heading, ["---"] * len(heading)]
        for key, by_work in rows.items():
            lines.append([names[key], *(cell(by_work[w]) if w in by_work else "" for w in PASSES)])
        return [f"| {' | '.join(line)} |" for line in lines]

    def speed(r: dict) -> str:
        time, bytes_ = figures(r["ns_per_element"]), figures(r["bytes_per_second"] / 1e9)
        return f"{time} ns, {bytes_} GB/s, {r['ratio_to_copy']:.2f}"

    def wrong(r: dict) -> str:
        return f"{r['differing']['ordinary']:,} / {r['differing']['mix']:,}"

    copies = ", ".join(f"{figures(s / 1e9)} GB/s ({d.upper()})" for d, s in report["copy_bytes_per_second"].items())
    hardware = "; ".join(f"{d.upper()}: {name}" for d, name in report["hardware"].items())
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return "\n".join([
        f"Time per element, bytes per second, and these over those of the fastest plain copy, {copies}; "
        f"{report['elements']:,} elements of {report['dtype']}:",
        "",
        *table(speed),
        "",
        f"Elements that differ from the exact result, of {report['checked']:,} of ordinary data / of the mix:",
        "",
        *table(wrong),
        "",
        f"`{report['command']}` on {report['date']}. {hardware}. {versions}. Load before: {report['load']:.1f}.",
        *(f"Left out: {reason}." for reason in report["left_out"]),
    ])


def figures(number: float) -> str:
    """Three significant digits."""
    return f"{number:.{max(0, 2 - int(np.floor(np.log10(number))))}f}"


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    return f"{model}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def progress(text: str):
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
