//! Test and bench data: every element follows from its number and a seed, so that any one of them can be made again,
//! alone and on any thread.

use crate::cpu::for_blocks;

/// Kinds of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Data {
    /// Log-uniform magnitudes, ratios below 2^20, random signs: what programs compute with.
    Ordinary,
    /// Large first inputs, small others: ratios from 2^20 to 2^277.
    Extreme,
    /// Random bits, ordinary, extreme, neighbours of multiples, subnormals and special values, an equal share of each.
    Mix,
}

impl Data {
    /// Its name: `ordinary`, `extreme`, `mix`.
    pub fn name(self) -> &'static str {
        match self {
            Data::Ordinary => "ordinary",
            Data::Extreme => "extreme",
            Data::Mix => "mix",
        }
    }

    /// Fills the operands of elements `first..`: some inputs and, last, the upstream gradient.
    pub fn fill(self, seed: u64, first: u64, operands: &mut [Vec<f32>]) {
        let mut operands: Vec<_> = operands.iter_mut().map(|o| Some(&mut o[..])).collect();
        for_blocks(&[], &mut operands, |block| {
            let mut operands: Vec<_> = block.writes.iter_mut().flatten().collect();
            let Some((upstream, inputs)) = operands.split_last_mut() else { return };
            for i in 0..upstream.len() {
                let mut random = Random::new(seed, first + (block.start + i) as u64);
                self.inputs(&mut random, inputs.iter_mut().map(|input| &mut input[i]));
                upstream[i] = self.upstream(&mut random);
            }
        });
    }

    fn inputs<'a>(self, random: &mut Random, mut inputs: impl Iterator<Item = &'a mut f32>) {
        let Some(x) = inputs.next() else { return };
        let kind = match self {
            Data::Ordinary => 0,
            Data::Extreme => 1,
            Data::Mix => random.below(6),
        };
        let mut y = 1.0;
        for input in inputs {
            y = match kind {
                0 | 2 => random.magnitude(-6, 6),
                1 => random.magnitude(-149, -20),
                3 => f32::from_bits(random.bits()),
                4 => random.subnormal_or_any(),
                _ => random.special(),
            };
            *input = y;
        }
        *x = match kind {
            0 => random.magnitude(-6, 14),
            1 => random.magnitude(0, 128),
            2 => random.near_multiple(y),
            3 => f32::from_bits(random.bits()),
            4 => random.subnormal_or_any(),
            _ => random.special(),
        };
    }

    fn upstream(self, random: &mut Random) -> f32 {
        match self {
            Data::Ordinary | Data::Extreme => random.magnitude(-4, 4),
            Data::Mix => match random.below(4) {
                0 => random.special(),
                1 => random.magnitude(-4, 4),
                2 => random.subnormal_or_any(),
                _ => f32::from_bits(random.bits()),
            },
        }
    }
}

/// Zeros, subnormals, powers, neighbours, halves, tenths, large numbers, infinity and NaNs, each with both signs.
const SPECIALS: [u32; 24] = [
    0x00000000, 0x00000001, 0x007fffff, 0x00800000, 0x00800001, 0x34000000, 0x3dcccccd, 0x3e800000,
    0x3effffff, 0x3f000000, 0x3f000001, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fc00000, 0x40400000,
    0x40490fdb, 0x4b000000, 0x4b7fffff, 0x4b800001, 0x7f7fffff, 0x7f800000, 0x7fc00000, 0x7f800001,
];

/// Steele, Lea and Flood's SplitMix64, started at an element's number.
struct Random(u64);

impl Random {
    fn new(seed: u64, element: u64) -> Self {
        // Elements are whole streams apart: mixing the number once keeps neighbours from sharing outputs.
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

    /// A random sign and significand, and an exponent in `low..high`; below -126 it is subnormal.
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

    /// At most two steps from a multiple of `y`.
    fn near_multiple(&mut self, y: f32) -> f32 {
        let range = [6, 11, 24][self.below(3) as usize];
        let multiple = f64::from(y) * f64::from(self.bits() >> (32 - range));
        let bits = (multiple as f32).to_bits();
        let near = (bits & 0x7fff_ffff).wrapping_add(self.below(5)).saturating_sub(2);
        f32::from_bits(near | (self.bits() & 0x8000_0000))
    }

    fn subnormal_or_any(&mut self) -> f32 {
        let bits = self.bits();
        f32::from_bits(if self.below(3) == 0 { bits } else { bits & 0x807f_ffff })
    }

    fn special(&mut self) -> f32 {
        let bits = SPECIALS[self.below(SPECIALS.len() as u32) as usize];
        f32::from_bits(bits | (self.bits() & 0x8000_0000))
    }
}
