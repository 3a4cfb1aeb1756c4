"""Both ops as a user of each peer writes them.

A function takes the inputs, then outputs that are already allocated, and returns its outputs. It writes to the
allocated ones if the peer can. All use `x - floor(x)` for `mod(x, 1)`: it is faster than a remainder, and exact in f32.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from exact import Type


@dataclass(frozen=True)
class Program:
    name: str
    device: str  # cpu or gpu
    functions: dict[str, Callable]  # by op and pass; copy is a plain copy
    load: Callable[[np.ndarray], object] = lambda array: array
    store: Callable[[object], np.ndarray] = lambda operand: operand
    finish: Callable[[], None] = lambda: None  # waits until the device has done all calls
    hardware: str = ""  # the GPU


def every(t: Type) -> tuple[list[Program], dict[str, str], list[str]]:
    """The programs that this machine can run, their packages' versions, and what is left out for which reason."""
    programs, versions, left_out = copies(), {"numpy": np.__version__}, []
    for name, module, types, make in (
        ("NumPy", "numpy", ("f32", "f16"), numpy),
        ("numexpr", "numexpr", ("f32",), numexpr),
        ("PyTorch", "torch", ("f32", "f16", "bf16"), pytorch),
    ):
        if t.name not in types:
            left_out.append(f"{name} has no {t.name}")
            continue
        try:
            versions[module] = import_module(module).__version__
        except ImportError as error:
            left_out.append(f"{name}: {error}")
            continue
        made, notes = make(t)
        programs += made
        left_out += notes
    return programs, versions, left_out


def copies() -> list[Program]:
    """The copies that a CPU's speed is compared with, whichever programs take part."""
    cores = os.cpu_count()
    pool = ThreadPoolExecutor(cores)

    def one_core(x, z):
        np.copyto(z, x)

    def all_cores(x, z):
        list(pool.map(np.copyto, np.array_split(z, cores), np.array_split(x, cores)))

    return [Program(f.__name__, "cpu", {"copy": f}) for f in (one_core, all_cores)]


def numpy(t: Type) -> tuple[list[Program], list[str]]:
    def spiky_forward(x, z):
        np.subtract(x, np.floor(x, out=z), out=z)
        return (np.where(z <= 0.5, z, 0),)

    def spiky_backward(x, dz, dx):
        return (np.where(x - np.floor(x) <= 0.5, dz, 0),)

    def mod_forward(x, y, z):
        return (np.remainder(x, y, out=z),)

    def mod_backward(x, y, dz, dy):
        np.negative(np.floor_divide(x, y, out=dy), out=dy)
        return (np.multiply(dy, dz, out=dy),)

    def mod_fused(x, y, dz, z, dy):
        np.divmod(x, y, out=(dy, z))
        np.negative(dy, out=dy)
        return z, np.multiply(dy, dz, out=dy)

    functions = [spiky_forward, spiky_backward, mod_forward, mod_backward, mod_fused]
    return [Program("NumPy", "cpu", by_name(functions))], []


def numexpr(t: Type) -> tuple[list[Program], list[str]]:
    import numexpr as ne

    # A literal would be f64, and make f64 of all operands that it meets.
    half = np.float32(0.5)

    def spiky_forward(x, z):
        return (ne.evaluate("where(x - floor(x) <= half, x - floor(x), 0)", {"x": x, "half": half}, out=z),)

    def spiky_backward(x, dz, dx):
        names = {"x": x, "dz": dz, "half": half}
        return (ne.evaluate("where(x - floor(x) <= half, dz, 0)", names, out=dx),)

    def mod_by(forward: str, backward: str) -> list[Callable]:
        def mod_forward(x, y, z):
            return (ne.evaluate(forward, {"x": x, "y": y}, out=z),)

        def mod_backward(x, y, dz, dy):
            return (ne.evaluate(backward, {"x": x, "y": y, "dz": dz, "half": half}, out=dy),)

        # An expression has one result.
        def mod_fused(x, y, dz, z, dy):
            return mod_forward(x, y, z) + mod_backward(x, y, dz, dy)

        return [mod_forward, mod_backward, mod_fused]

    # The operator is `x - y*floor(x/y)`; the function is exact, and its sign is that of x.
    floored = "where((fmod(x, y) != 0) & ((x < 0) != (y < 0)), fmod(x, y) + y, fmod(x, y))"
    by_operator = mod_by("x % y", "dz * -floor(x / y)")
    by_fmod = mod_by(floored, f"dz * -floor((x - {floored}) / y + half)")
    return [
        Program("numexpr, `%`", "cpu", by_name([spiky_forward, spiky_backward, *by_operator])),
        Program("numexpr, `fmod`", "cpu", by_name(by_fmod)),
    ], []


def pytorch(t: Type) -> tuple[list[Program], list[str]]:
    import torch

    def copy(x, z):
        z.copy_(x)

    def spiky_forward(x, z):
        r = x - torch.floor(x)
        return (torch.where(r <= 0.5, r, r.new_zeros(()), out=z),)

    def spiky_backward(x, dz, dx):
        return (torch.where(x - torch.floor(x) <= 0.5, dz, dz.new_zeros(()), out=dx),)

    def mod_forward(x, y, z):
        return (torch.remainder(x, y, out=z),)

    def mod_backward(x, y, dz, dy):
        return (torch.floor_divide(x, y, out=dy).neg_().mul_(dz),)

    def mod_fused(x, y, dz, z, dy):
        return mod_forward(x, y, z) + mod_backward(x, y, dz, dy)

    functions = [spiky_forward, spiky_backward, mod_forward, mod_backward, mod_fused]
    kinds = {"PyTorch eager": by_name([copy, *functions])}
    left_out = []
    if shutil.which(os.environ.get("CXX", "g++")):
        kinds["PyTorch compiled"] = {
            name: torch.compile(f, fullgraph=True, dynamic=False) for name, f in by_name(functions).items()
        }
    else:
        left_out.append("PyTorch compiled: no C++ compiler, g++ or $CXX")

    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[t.name]
    bits = np.dtype(f"i{t.storage.itemsize}")

    def on(device: str, **rest) -> list[Program]:
        def load(array):
            return torch.from_numpy(array.view(bits)).to(device).view(dtype)

        def store(tensor):
            return tensor.view(getattr(torch, bits.name)).cpu().numpy().view(t.storage)

        place = "gpu" if device == "cuda" else device
        return [Program(name, place, functions, load, store, **rest) for name, functions in kinds.items()]

    made = on("cpu")
    if torch.cuda.is_available():
        made += on("cuda", finish=torch.cuda.synchronize, hardware=torch.cuda.get_device_name())
    else:
        left_out.append("PyTorch on CUDA: no CUDA device")
    return made, left_out


def by_name(functions: list[Callable]) -> dict[str, Callable]:
    return {f.__name__.replace("_", " "): f for f in functions}
