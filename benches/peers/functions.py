#!/usr/bin/env python3
"""Elementary functions and activations on elemgrad, PyTorch and numexpr, in turns, on the CPU.

    pip install -r requirements.txt
    cargo bench --bench functions --no-run
    python functions.py [--elements N] [--rounds N] [--bench COMMAND]

Times are nanoseconds an element, medians of the rounds. "forward" writes into memory that is there; "allocating"
returns new arrays; "both" is a forward and a backward pass; "in cache" is 16 Ki elements on one thread. "torch: wrong"
is how many of 2^20 numbers are not the f32 nearest to the value in f64.
"""

import argparse
import math
import statistics
import subprocess
import time
from collections import defaultdict

import numexpr
import numpy as np
import torch
import torch.nn.functional as F

FEW = 16 * 1024
CALLS = 64

TORCH = {
    "exp": (torch.exp, torch.exp),
    "log": (torch.log, torch.log),
    "sin": (torch.sin, torch.sin),
    "tanh": (torch.tanh, torch.tanh),
    "erf": (torch.erf, torch.erf),
    "sigmoid": (torch.sigmoid, torch.sigmoid),
    "softplus": (F.softplus, lambda x, out: torch.ops.aten.softplus.out(x, out=out)),
    "silu": (F.silu, lambda x, out: torch.ops.aten.silu.out(x, out=out)),
    "gelu": (F.gelu, lambda x, out: torch.ops.aten.gelu.out(x, out=out)),
    "gelu_tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x, out: torch.ops.aten.gelu.out(x, approximate="tanh", out=out),
    ),
    "mish": (F.mish, lambda x, out: torch.ops.aten.mish.out(x, out=out)),
    "horner": (lambda x: ((((0.5 * x + 1.5) * x - 2.0) * x + 0.25) * x + 3.0) * x - 1.0, None),
    "select": (lambda x: torch.where(x < 0, 0.25 * x, x), None),
}
NUMEXPR = {
    "exp": "exp(x)",
    "log": "log(x)",
    "sin": "sin(x)",
    "tanh": "tanh(x)",
    "sigmoid": "1 / (1 + exp(-x))",
    "softplus": "log1p(exp(x))",
    "silu": "x / (1 + exp(-x))",
    "mish": "x * tanh(log1p(exp(x)))",
    "horner": "((((0.5 * x + 1.5) * x - 2.0) * x + 0.25) * x + 3.0) * x - 1.0",
    "select": "where(x < 0, 0.25 * x, x)",
}


EXACT = {
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


def wrong(name: str) -> str:
    if name not in EXACT:
        return ""
    x = operand(name, 1 << 20)
    right = EXACT[name](x.astype(np.float64)).astype(np.float32)
    return str(int((TORCH[name][0](torch.from_numpy(x)).numpy() != right).sum()))


def operand(name: str, elements: int) -> np.ndarray:
    fraction = np.modf(np.arange(elements, dtype=np.float64) * 0.618033988749895)[0].astype(np.float32)
    return (fraction + np.float32(1 / 16 if name == "log" else -0.5)) * np.float32(16)


class Times:
    def __init__(self):
        self.all = defaultdict(list)

    def take(self, key, elements: int, call):
        start = time.perf_counter()
        call()
        self.all[key].append((time.perf_counter() - start) / elements * 1e9)

    def median(self, key) -> str:
        return f"{statistics.median(self.all[key]):.2f}" if key in self.all else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bench", default="cargo bench --quiet --bench functions --")
    args = parser.parse_args()
    times = Times()
    compiled = {name: torch.compile(forward) for name, (forward, _) in TORCH.items()}
    for _ in range(args.rounds):
        for name in TORCH:
            elemgrad(times, args, name)
            peers(times, args, name, compiled[name])
    table(times)


def elemgrad(times: Times, args, name: str):
    command = [*args.bench.split(), "--elements", str(args.elements), "--turns", "3", name]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for line in lines:
        of, what, ns = line.split("\t")
        if of == name:
            times.all[name, "elemgrad", what].append(float(ns))


def peers(times: Times, args, name: str, compiled):
    x = torch.from_numpy(operand(name, args.elements))
    forward, into = TORCH[name]
    z, dz = torch.empty_like(x), torch.ones_like(x)
    if into:
        warm(times, (name, "torch", "forward"), args.elements, lambda: into(x, out=z))
    warm(times, (name, "torch", "forward, allocating"), args.elements, lambda: forward(x))
    leaf = x.clone().requires_grad_()

    def both(function):
        leaf.grad = None
        function(leaf).backward(dz)

    warm(times, (name, "torch", "both, allocating"), args.elements, lambda: both(forward))
    warm(times, (name, "compiled", "forward, allocating"), args.elements, lambda: compiled(x))
    warm(times, (name, "compiled", "both, allocating"), args.elements, lambda: both(compiled))
    few = x[:FEW].clone()
    few_z = torch.empty_like(few)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if into:
        repeated = lambda: [into(few, out=few_z) for _ in range(CALLS)]
        warm(times, (name, "torch", "in cache"), FEW * CALLS, repeated)
    torch.set_num_threads(threads)
    if name in NUMEXPR:
        values, out = x.numpy(), z.numpy()
        evaluate = lambda: numexpr.evaluate(NUMEXPR[name], {"x": values}, out=out, casting="same_kind")
        warm(times, (name, "numexpr", "forward"), args.elements, evaluate)


def warm(times: Times, key, elements: int, call):
    call()
    for _ in range(3):
        times.take(key, elements, call)


def table(times: Times):
    columns = [
        ("elemgrad", "forward"),
        ("torch", "forward"),
        ("numexpr", "forward"),
        ("elemgrad", "forward, allocating"),
        ("torch", "forward, allocating"),
        ("compiled", "forward, allocating"),
        ("elemgrad", "both, allocating"),
        ("elemgrad", "both"),
        ("torch", "both, allocating"),
        ("compiled", "both, allocating"),
        ("elemgrad", "in cache"),
        ("torch", "in cache"),
        ("elemgrad", "in cache, CORE-MATH"),
    ]
    print("| function | " + " | ".join(f"{program}: {what}" for program, what in columns) + " | torch: wrong |")
    print("|---" * (len(columns) + 2) + "|")
    for name in TORCH:
        cells = [times.median((name, *column)) for column in columns]
        print(f"| {name} | " + " | ".join([*cells, wrong(name)]) + " |")


if __name__ == "__main__":
    main()
