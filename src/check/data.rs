//! Data for tests and benchmarks. Every element depends only on its number and a seed, so any element can be made
//! again, alone and on any thread.

use crate::{cpu::for_blocks, dtype::DType, op::Op};

/// Kinds of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Data {
    /// Log-uniform magnitudes, ratios below 2^20, random signs: typical values in programs.
    Ordinary,
    /// Log-uniform magnitudes from 2^-6 to 2^4, random signs: typical inputs of exponentials and activations.
    Moderate,
    /// Large first inputs, small others: ratios from 2^20 to 2^277.
    Extreme,
    /// Equal shares of random bits, ordinary values, extreme values, neighbours of multiples, subnormals and special
    /// values.
    Mix,
}

impl Data {
    /// Its name: `ordinary`, `extreme`, `mix`.
    pub fn name(self) -> &'static str {
        match self {
            Data::Ordinary => "ordinary",
            Data::Moderate => "moderate",
            Data::Extreme => "extreme",
            Data::Mix => "mix",
        }
    }

    /// The data for comparing an op: [`Mix`](Data::Mix), but [`Moderate`](Data::Moderate) for a non-exact op on a
    /// GPU. Nothing is guaranteed about what such an op makes of NaN, infinity and overflow.
    pub fn of(op: &Op, on_gpu: bool) -> Self {
        if op.is_exact() || !on_gpu { Data::Mix } else { Data::Moderate }
    }

    /// Fills the operands from element `first` on: any inputs, then the upstream gradient last.
    ///
    /// The values are f32 numbers that the storage type holds exactly.
    pub fn fill(self, dtype: DType, seed: u64, first: u64, operands: &mut [Vec<f32>]) {
        let mut operands: Vec<_> = operands.iter_mut().map(|o| Some(&mut o[..])).collect();
        for_blocks(&[], &mut operands, |block| {
            let mut operands: Vec<_> = block.writes.iter_mut().flatten().collect();
            let Some((upstream, inputs)) = operands.split_last_mut() else { return };
            for i in 0..upstream.len() {
                let element = first + (block.start + i) as u64;
                let mut random = Random::new(seed, element);
                self.inputs(dtype, &mut random, inputs.iter_mut().map(|input| &mut input[i]));
                upstream[i] = self.upstream(dtype, turn(seed, element), &mut random);
            }
        });
    }

    fn inputs<'a>(self, dtype: DType, random: &mut Random, mut inputs: impl Iterator<Item = &'a mut f32>) {
        let Some(x) = inputs.next() else { return };
        let kind = match self {
            Data::Ordinary => 0,
            Data::Extreme => 1,
            Data::Moderate => 6,
            Data::Mix => random.below(6),
        };
        // The exponents of the least and the greatest number.
        let (least, greatest) = dtype.row().exponents;
        let rounded = |v: f32| dtype.widen(dtype.round(v));
        let mut y = 1.0;
        for input in inputs {
            y = match kind {
                0 | 2 => rounded(random.magnitude(-6, 6)),
                1 => rounded(random.magnitude(least, (-20).max(least + 4))),
                3 => random.any(dtype),
                4 => random.subnormal_or_any(dtype),
                6 => rounded(random.magnitude(-6, 4)),
                _ => rounded(random.special()),
            };
            *input = y;
        }
        *x = match kind {
            0 => rounded(random.magnitude(-6, 14)),
            1 => rounded(random.magnitude(0, greatest)),
            2 => random.near_multiple(dtype, y),
            3 => random.any(dtype),
            4 => random.subnormal_or_any(dtype),
            6 => rounded(random.magnitude(-6, 4)),
            _ => rounded(random.special()),
        };
    }

    fn upstream(self, dtype: DType, turn: u64, random: &mut Random) -> f32 {
        let rounded = |v: f32| dtype.widen(dtype.round(v));
        match self {
            Data::Ordinary | Data::Moderate | Data::Extreme => rounded(random.magnitude(-4, 4)),
            Data::Mix => match turn {
                0 => rounded(random.special()),
                1 => rounded(random.magnitude(-4, 4)),
                2 => random.subnormal_or_any(dtype),
                _ => random.any(dtype),
            },
        }
    }
}

/// Which of the four kinds an element has. The kinds take turns, which a processor predicts better than random draws.
/// The first kind is drawn for every 64 elements, so no input is tied to a kind.
fn turn(seed: u64, element: u64) -> u64 {
    let first = (seed ^ (element >> 6)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
    (element + first) % 4
}

/// Zeros, subnormals, powers, neighbours, halves, tenths, large numbers, infinity and NaNs, each with both signs.
const SPECIALS: [u32; 24] = [
    0x00000000, 0x00000001, 0x007fffff, 0x00800000, 0x00800001, 0x34000000, 0x3dcccccd, 0x3e800000,
    0x3effffff, 0x3f000000, 0x3f000001, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fc00000, 0x40400000,
    0x40490fdb, 0x4b000000, 0x4b7fffff, 0x4b800001, 0x7f7fffff, 0x7f800000, 0x7fc00000, 0x7f800001,
];

/// SplitMix64 by Steele, Lea and Flood, started at an element's number.
struct Random(u64);

impl Random {
    fn new(seed: u64, element: u64) -> Self {
        // Elements are whole streams apart. Mixing the number once keeps neighbours from sharing outputs.
        Self(Self(seed ^ element.wrapping_mul(0xd1b5_4a32_d192_ed03)).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bits(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(n)) >> 32) as u32
    }

    /// A random sign and significand, and an exponent in `low..high`. Below exponent -126 the number is subnormal.
    fn magnitude(&mut self, low: i32, high: i32) -> f32 {
        let (sign, fraction) = (self.bits() & 0x8000_0000, self.bits() & 0x007f_ffff);
        let exponent = low + self.below((high - low) as u32) as i32;
        let bits = if exponent < -126 {
            (fraction | 0x0080_0000) >> (-126 - exponent)
        } else {
            ((exponent + 127) as u32) << 23 | fraction
        };
        f32::from_bits(sign | bits)
    }

    /// A number at most two steps from a multiple of `y`.
    fn near_multiple(&mut self, dtype: DType, y: f32) -> f32 {
        let range = [6, 11, 24][self.below(3) as usize];
        let multiple = f64::from(y) * f64::from(self.bits() >> (32 - range));
        let sign = 1 << (8 * dtype.size() - 1);
        let near = (dtype.round(multiple as f32) & !sign).wrapping_add(self.below(5)).saturating_sub(2);
        dtype.widen(near | (self.bits() >> (32 - 8 * dtype.size()) & sign))
    }

    /// Random bits of the storage type.
    fn any_bits(&mut self, dtype: DType) -> u32 {
        self.bits() >> (32 - 8 * dtype.size())
    }

    fn any(&mut self, dtype: DType) -> f32 {
        dtype.widen(self.any_bits(dtype))
    }

    fn subnormal_or_any(&mut self, dtype: DType) -> f32 {
        let any = self.any_bits(dtype);
        dtype.widen(if self.below(3) == 0 { any } else { any & dtype.row().subnormal })
    }

    fn special(&mut self) -> f32 {
        let bits = SPECIALS[self.below(SPECIALS.len() as u32) as usize];
        f32::from_bits(bits | (self.bits() & 0x8000_0000))
    }
}

#[cfg(test)]
mod tests {
    use super::turn;

    fn all_four(turns: impl Iterator<Item = u64>) -> bool {
        turns.fold([false; 4], |mut seen, turn| {
            seen[turn as usize] = true;
            seen
        }) == [true; 4]
    }

    /// An exhaustive check of two inputs increments the second one after the first has gone through all its bits.
    #[test]
    fn every_input_meets_every_kind_of_upstream_gradient() {
        for input in 0..1 << 16 {
            assert!(all_four((0..16).map(|other| turn(1, other << 16 | input))), "first input {input:04x}");
            assert!(all_four((0..16).map(|other| turn(1, input << 16 | other))), "second input {input:04x}");
        }
        for kind in 0..4 {
            let of_another_seed = (0..1 << 12).filter(|e| turn(1, *e) == kind).map(|e| turn(2, e));
            assert!(all_four(of_another_seed), "{kind} of seed 1");
        }
    }
}
