"""What is compared: a peer's program and the elemgrad command, behind the same few methods.

load: sets the operands of later calls. results: the outputs of an op and pass. time: times calls. seconds: the median
time of one call, by op and pass.
"""

import json
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from data import Operands
from exact import Type
from programs import Program

# Inputs and outputs by op and pass.
PASSES = {
    "spiky forward": (("x",), ("z",)),
    "spiky backward": (("x", "dz"), ("dx",)),
    "mod forward": (("x", "y"), ("z",)),
    "mod backward": (("x", "y", "dz"), ("dy",)),
    "mod fused": (("x", "y", "dz"), ("z", "dy")),
}
COPY = (("x",), ("z",))
# One call on a GPU is too short to be timed alone.
CALLS = {"cpu": 1, "gpu": 50}


def bytes_per_element(work: str, t: Type) -> int:
    return t.storage.itemsize * sum(map(len, PASSES.get(work, COPY)))


class Peer:
    def __init__(self, program: Program, t: Type):
        self.program, self.t = program, t
        self.name, self.device, self.hardware = program.name, program.device, program.hardware
        self.works = [work for work in PASSES if work in program.functions]
        self.operands, self.times = {}, defaultdict(list)

    def load(self, operands: Operands):
        self.operands = {name: self.program.load(values) for name, values in operands.items()}

    def results(self, work: str) -> list[np.ndarray]:
        return [self.program.store(output) for output in self.call(work)]

    def call(self, work: str):
        inputs, outputs = PASSES.get(work, COPY)
        return self.program.functions[work](*(self.operands[name] for name in inputs + outputs))

    def time(self):
        for work in self.program.functions:
            self.program.finish()
            start = time.perf_counter()
            for _ in range(CALLS[self.device]):
                self.call(work)
            self.program.finish()
            self.times[work].append((time.perf_counter() - start) / CALLS[self.device])

    def seconds(self) -> dict[str, float]:
        return {work: statistics.median(times) for work, times in self.times.items()}

    def copy_bytes_per_second(self) -> float:
        seconds = self.seconds().get("copy")
        return len(self.operands["x"]) * bytes_per_element("copy", self.t) / seconds if seconds else 0.0


class Elemgrad:
    name = "elemgrad"
    works = list(PASSES)

    def __init__(self, command: str, device: str, hardware: str, t: Type):
        self.command, self.device, self.hardware, self.t = command, device, hardware, t
        self.options = ["--device", device if device == "cpu" else hardware, *dtype_option(t)]
        self.operands, self.figures = {}, {}

    def load(self, operands: Operands):
        self.operands = operands

    def results(self, work: str) -> list[np.ndarray]:
        inputs, outputs = PASSES[work]
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for name in inputs:
                path = Path(folder, f"in-{name}.npy")
                np.save(path, self.operands[name])
                files += ["--grad" if name == "dz" else f"--{name}", path]
            ask(self.command, "run", work.split()[0], *files, "--out", folder, *self.options)
            return [np.load(Path(folder, f"{name}.npy")).view(self.t.storage) for name in outputs]

    def time(self):
        """Runs the command's own bench, and uses only its ordinary data."""
        elements = str(len(self.operands["x"]))
        rows = json.loads(ask(self.command, "bench", "--elements", elements, "--json", *self.options))
        wanted = {"dtype": self.t.name, "layout": "contiguous", "data": "ordinary"}
        self.figures = {f"{r['op']} {r['pass']}": r for r in rows if wanted.items() <= r.items()}

    def seconds(self) -> dict[str, float]:
        return {work: figures["seconds"] for work, figures in self.figures.items()}

    def copy_bytes_per_second(self) -> float:
        return max(figures["copy_bytes_per_second"] for figures in self.figures.values())


def elemgrads(command: str, t: Type) -> tuple[list[Elemgrad], dict[str, str], list[str]]:
    """The command on the CPU and on a hardware GPU, its version, and what is left out for which reason."""
    if dtype_option(t) and "--dtype" not in ask(command, "bench", "--help"):
        return [], {}, [f"elemgrad: this build has no {t.name}"]
    found = [Elemgrad(command, "cpu", "", t)]
    auto = json.loads(ask(command, "info", "--json"))["auto"]
    if auto != "cpu":
        found.append(Elemgrad(command, "gpu", auto, t))
    left_out = [] if auto != "cpu" else ["elemgrad on a GPU: no hardware adapter"]
    return found, {"elemgrad": ask(command, "--version").split()[-1]}, left_out


def dtype_option(t: Type) -> list[str]:
    """A command that knows no --dtype computes in f32."""
    return [] if t.name == "f32" else ["--dtype", t.name]


def ask(*args) -> str:
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, text=True).stdout
