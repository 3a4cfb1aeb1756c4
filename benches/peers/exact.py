"""The exact results, in rational arithmetic. They judge every program and are part of none."""

import math
from dataclasses import dataclass
from itertools import starmap

import numpy as np


@dataclass(frozen=True)
class Type:
    """A storage type. NumPy has no bf16: its elements are kept as their bits."""

    name: str
    storage: np.dtype
    precision: int  # bits of a significand
    least: int  # the exponent of the smallest subnormal

    def narrow(self, values: np.ndarray) -> np.ndarray:
        """f32 rounded to this type, to nearest, ties to even."""
        if self.name == "bf16":
            bits = values.view(np.uint32)
            return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)
        with np.errstate(over="ignore", under="ignore"):
            return values.astype(self.storage)

    def widen(self, elements: np.ndarray) -> np.ndarray:
        """The f64 of the same values."""
        if self.name == "bf16":
            elements = (elements.astype(np.uint32) << 16).view(np.float32)
        return elements.astype(np.float64)


TYPES = {
    t.name: t
    for t in (
        Type("f32", np.dtype(np.float32), 24, -149),
        Type("f16", np.dtype(np.float16), 11, -24),
        Type("bf16", np.dtype(np.uint16), 8, -133),
    )
}
F32 = TYPES["f32"]


def rounded(numerator: int, shift: int, t: Type) -> float:
    """numerator / 2^shift rounded once to the type, to nearest, ties to even."""
    # The number of bits below the last one that the type keeps.
    drop = max(abs(numerator).bit_length() - t.precision, shift + t.least)
    if drop <= 0:
        return math.ldexp(numerator, -shift)
    kept = numerator + (1 << drop - 1) - 1 + (numerator >> drop & 1) >> drop
    return math.ldexp(kept, drop - shift)


def mod(x: float, y: float, t: Type) -> tuple[float, float]:
    """x mod y rounded to the type, and floor(x / y) to 24 bits, for finite x and finite y other than 0."""
    (p, below_p), (q, below_q) = x.as_integer_ratio(), y.as_integer_ratio()
    quotient, rest = divmod(p * below_q, q * below_p)
    # The denominator of a float is a power of two.
    shift = (below_p * below_q).bit_length() - 1
    return rounded(rest, shift, t) if rest else math.copysign(0.0, y), rounded(quotient, 0, F32)


def mods(x: np.ndarray, y: np.ndarray, t: Type) -> tuple[np.ndarray, np.ndarray]:
    """Every element's mod, in f64."""
    pairs = starmap(lambda x, y: mod(x, y, t), zip(t.widen(x).tolist(), t.widen(y).tolist()))
    z, quotient = np.array(list(pairs)).T
    return z, quotient


def results(x: np.ndarray, y: np.ndarray, dz: np.ndarray, t: Type) -> dict[str, np.ndarray]:
    """The outputs of both ops, by op and output."""
    one = t.narrow(np.ones(len(x), np.float32))
    r, _ = mods(x, one, t)
    z, quotient = mods(x, y, t)
    with np.errstate(over="ignore"):
        # The f64 product of two f32 is exact, so this rounds once.
        dy = (t.widen(dz) * -quotient.astype(np.float32).astype(np.float64)).astype(np.float32)
    return {
        "spiky z": t.narrow(np.where(r <= 0.5, r, 0).astype(np.float32)),
        "spiky dx": np.where(r <= 0.5, dz, t.storage.type(0)),
        "mod z": t.narrow(z.astype(np.float32)),
        "mod dy": t.narrow(dy),
    }


def differing(got: np.ndarray, exact: np.ndarray, t: Type) -> np.ndarray:
    """Where the bits differ: the sign of a zero counts, the bits of a NaN do not."""
    bits = np.dtype(f"u{t.storage.itemsize}")
    both_nan = np.isnan(t.widen(got)) & np.isnan(t.widen(exact))
    return (got.view(bits) != exact.view(bits)) & ~both_nan
