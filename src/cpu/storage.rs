//! Converts elements between storage and f32, many at a time, with the same bits as `DType::widen` and
//! `DType::round`.

use bytemuck::{Pod, cast};

use super::simd::Vectors;

/// The number of elements to compute at a time: whole cache lines in every storage type.
pub(crate) const LANES: usize = 128;

const HALF: usize = LANES / 2;

/// [`LANES`] elements in f32. The storage type chooses the order, which is the same for all operands.
pub(crate) type Wide = [f32; LANES];

/// A value at the start of a cache line: vectors that straddle two lines are slow.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Aligned<T>(pub(crate) T);

/// A storage type.
pub(crate) trait Storage {
    /// The bits of 1.
    const ONE: Self::Bits;

    /// The bits of an element.
    type Bits: Pod;

    /// Widens the elements. The result may be in `to`, which has room for the lanes.
    fn widen<'w, V: Vectors>(vectors: V, from: &'w [Self::Bits; LANES], to: &'w mut Wide) -> &'w Wide;

    /// Rounds the lanes. Every NaN in them is the one that ops compute, or comes from [widening](Storage::widen).
    fn round<V: Vectors>(vectors: V, from: &Wide, to: &mut [Self::Bits; LANES]);

    /// The index of the element in a lane.
    #[inline(always)]
    fn element(lane: usize) -> usize {
        lane
    }

    /// Reorders bits from lane order to element order.
    #[inline(always)]
    fn in_order(lanes: [u64; LANES / 64]) -> Bits {
        words(lanes)
    }
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;

impl Storage for F32 {
    const ONE: f32 = 1.0;
    type Bits = f32;

    #[inline(always)]
    fn widen<'w, V: Vectors>(_: V, from: &'w [f32; LANES], _: &'w mut Wide) -> &'w Wide {
        from
    }

    #[inline(always)]
    fn round<V: Vectors>(_: V, from: &Wide, to: &mut [f32; LANES]) {
        *to = *from;
    }
}

/// A word holds two elements, the first in its lower half. The lanes take all lower halves first, then all upper
/// halves, so no half moves to another lane.
impl Storage for Bf16 {
    const ONE: u16 = 0x3f80;
    type Bits = u16;

    #[inline(always)]
    fn widen<'w, V: Vectors>(_: V, from: &'w [u16; LANES], to: &'w mut Wide) -> &'w Wide {
        let words: [u32; HALF] = cast(*from);
        for i in 0..HALF {
            to[i] = f32::from_bits(words[i] << 16);
            to[i + HALF] = f32::from_bits(words[i] & 0xffff_0000);
        }
        to
    }

    #[inline(always)]
    fn round<V: Vectors>(_: V, from: &Wide, to: &mut [u16; LANES]) {
        let rounded = |value: f32| round_bf16(value).to_bits();
        let mut words = [0; HALF];
        for i in 0..HALF {
            words[i] = rounded(from[i]) >> 16 | rounded(from[i + HALF]);
        }
        *to = cast(words);
    }

    #[inline(always)]
    fn element(lane: usize) -> usize {
        lane % HALF * 2 + lane / HALF
    }

    #[inline(always)]
    fn in_order([lower, upper]: [u64; LANES / 64]) -> Bits {
        let pairs = |shift: u32| spread((lower >> shift) as u32) | spread((upper >> shift) as u32) << 1;
        words([pairs(0), pairs(32)])
    }
}

/// Rounds to the nearest bf16, returned as f32.
#[inline(always)]
pub(crate) fn round_bf16(value: f32) -> f32 {
    // A carry beyond the largest number gives infinity. The NaN that ops compute and a widened NaN cause no carry.
    let rounded = value.to_bits().wrapping_add(0x7fff + (value.to_bits() >> 16 & 1));
    f32::from_bits(rounded & 0xffff_0000)
}

impl Storage for F16 {
    const ONE: u16 = 0x3c00;
    type Bits = u16;

    #[inline(always)]
    fn widen<'w, V: Vectors>(vectors: V, from: &'w [u16; LANES], to: &'w mut Wide) -> &'w Wide {
        if !vectors.widen_f16(from, to) {
            for i in 0..LANES {
                to[i] = widen_f16(from[i]);
            }
        }
        to
    }

    #[inline(always)]
    fn round<V: Vectors>(vectors: V, from: &Wide, to: &mut [u16; LANES]) {
        if !vectors.round_f16(from, to) {
            for i in 0..LANES {
                to[i] = round_f16(from[i]);
            }
        }
    }
}

/// Shifting the fraction to its place in an f32 gives a number that is too small by a power of two. Multiplying by
/// that power is exact.
#[inline(always)]
fn widen_f16(bits: u16) -> f32 {
    let (sign, size) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
    let number = (f32::from_bits(size << 13) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = size << 13 | 0x7f80_0000;
    f32::from_bits(sign | if size < 0x7c00 { number } else { special })
}

#[inline(always)]
fn round_f16(value: f32) -> u16 {
    const LEAST_NORMAL: u32 = (127 - 14) << 23;
    // Halfway from the largest number to the next power of two.
    const INFINITE: u32 = 0x477f_f000;
    let (sign, size) = (value.to_bits() >> 16 & 0x8000, value.to_bits() & 0x7fff_ffff);
    let normal = nearest_even(size.wrapping_sub(112 << 23), 13);
    // The sum has the unit of f16's subnormal numbers.
    let subnormal = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let finite = if size < LEAST_NORMAL { subnormal } else { normal };
    let number = if size < INFINITE { finite } else { 0x7c00 };
    let payload = size >> 13 & 0x3ff;
    (sign | if value.is_nan() { 0x7c00 | payload } else { number }) as u16
}

/// `bits / 2^count`, rounded to nearest even. A carry into the exponent gives the right result.
#[inline(always)]
fn nearest_even(bits: u32, count: u32) -> u32 {
    let (half, odd) = ((1 << (count - 1)) - 1, bits >> count & 1);
    bits.wrapping_add(half + odd) >> count
}

/// The words of a mask of [`LANES`] elements.
pub(crate) type Bits = [u32; LANES / 32];

#[inline(always)]
fn words([first, second]: [u64; LANES / 64]) -> Bits {
    [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32]
}

/// Unpacks a mask: each lane becomes 1 or 0.
#[inline(always)]
pub(crate) fn unpack<S: Storage>(bits: &Bits, to: &mut Wide) {
    for (lane, to) in to.iter_mut().enumerate() {
        let element = S::element(lane);
        *to = (bits[element / 32] >> (element % 32) & 1) as f32;
    }
}

/// Packs a mask: the bit of each element says whether its lane is not 0.
#[inline(always)]
pub(crate) fn pack<S: Storage>(from: &Wide) -> Bits {
    let mut lanes = [0; LANES / 64];
    for (lanes, from) in lanes.iter_mut().zip(from.as_chunks::<64>().0) {
        for (lane, from) in from.iter().enumerate() {
            *lanes |= u64::from(*from != 0.0) << lane;
        }
    }
    S::in_order(lanes)
}

/// Inserts a 0 after each bit.
#[inline(always)]
fn spread(bits: u32) -> u64 {
    let mut bits = u64::from(bits);
    bits = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    bits = (bits | bits << 8) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333_3333_3333;
    (bits | bits << 1) & 0x5555_5555_5555_5555
}
