"""The operands x, y and dz, the same for every program."""

import numpy as np

from exact import Type

Operands = dict[str, np.ndarray]


class Random:
    def __init__(self, t: Type, elements: int, seed: int):
        self.t, self.elements, self.generator = t, elements, np.random.default_rng(seed)

    def power(self, low: float, high: float) -> np.ndarray:
        """Log-uniform magnitudes from 2^low to 2^high, random signs."""
        return np.exp2(self.generator.uniform(low, high, self.elements)) * self.sign()

    def sign(self) -> np.ndarray:
        return self.below(2) * 2.0 - 1

    def below(self, n: int) -> np.ndarray:
        return self.generator.integers(n, size=self.elements)

    def subnormal(self) -> np.ndarray:
        return (1 + self.below((1 << self.t.precision - 1) - 1)) * 2.0**self.t.least * self.sign()

    def near_multiple(self, y: np.ndarray) -> np.ndarray:
        """A multiple of y, or about one step off."""
        y = self.t.widen(self.t.narrow(y.astype(np.float32)))
        step = (self.below(3) - 1) * 2.0 ** (1 - self.t.precision)
        return y * (1 + self.below(1 << 10)) * self.sign() * (1 + step)


def ordinary(t: Type, elements: int, seed: int) -> Operands:
    """Ratios below 2^20 of numbers that every type has: the ordinary data of `elemgrad bench`."""
    random = Random(t, elements, seed)
    return narrowed(t, x=random.power(-6, 14), y=random.power(-6, 6), dz=random.power(-4, 4))


def mix(t: Type, elements: int, seed: int) -> Operands:
    """Operands that go wrong. Zeros, infinities and NaN are left out: programs have their own conventions for them."""
    random = Random(t, elements, seed)
    divisor = random.power(-4, 4)
    far = random.power(4, 14)
    kinds = [
        (random.power(-6, 14), random.power(-6, 6)),
        (random.power(0, 15), random.power(-24, -20)),  # large ratios, 2^20 to 2^39
        (-np.sign(far) * np.abs(random.power(-24, -14)), far),  # tiny, of the other sign
        (random.subnormal(), random.subnormal()),
        (random.near_multiple(divisor), divisor),
    ]
    kind = random.below(len(kinds))
    x, y = (np.choose(kind, operands) for operands in zip(*kinds))
    return narrowed(t, x=x, y=y, dz=random.power(-4, 4))


def narrowed(t: Type, **operands: np.ndarray) -> Operands:
    return {name: t.narrow(values.astype(np.float32)) for name, values in operands.items()}
