//! 16-bit data as f32 and back, in vectors, bit for bit as [`DType::widen`] and [`DType::round`] do it.

use super::simd::{Kernel, Level};
use crate::DType;

/// [`DType::widen`] over slices of one length.
pub(crate) fn widen(level: Level, dtype: DType, from: &[u16], to: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if dtype == DType::F16 && level.has_f16() {
        return f16c::widen(level, from, to);
    }
    level.run(Widen { dtype, from, to });
}

/// [`DType::round`] over slices of one length.
pub(crate) fn round(level: Level, dtype: DType, from: &[f32], to: &mut [u16]) {
    #[cfg(target_arch = "x86_64")]
    if dtype == DType::F16 && level.has_f16() {
        f16c::round(level, from, to);
        return level.run(RoundNan { dtype, from, to });
    }
    level.run(Round { dtype, from, to });
    level.run(RoundNan { dtype, from, to });
}

/// Bit `i % 32` of word `i / 32` is whether value `i` is not 0; the bits behind the last are 0.
pub(crate) fn pack(level: Level, values: &[f32], words: &mut [u32]) {
    level.run(Pack { values, words });
}

struct Widen<'a> {
    dtype: DType,
    from: &'a [u16],
    to: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    #[inline(always)]
    fn run<const NATIVE: bool>(self) {
        let pairs = self.to.iter_mut().zip(self.from);
        if self.dtype == DType::Bf16 {
            pairs.for_each(|(to, from)| *to = f32::from_bits(u32::from(*from) << 16));
        } else {
            pairs.for_each(|(to, from)| *to = widen_f16(*from));
        }
    }
}

/// With the fraction where an f32 has it, a number is too small by a power of two, whose product is exact.
#[inline(always)]
fn widen_f16(bits: u16) -> f32 {
    let (sign, size) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
    let number = (f32::from_bits(size << 13) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = size << 13 | 0x7f80_0000;
    f32::from_bits(sign | if size < 0x7c00 { number } else { special })
}

/// Anything but NaN.
struct Round<'a> {
    dtype: DType,
    from: &'a [f32],
    to: &'a mut [u16],
}

impl Kernel for Round<'_> {
    #[inline(always)]
    fn run<const NATIVE: bool>(self) {
        let pairs = self.to.iter_mut().zip(self.from);
        if self.dtype == DType::Bf16 {
            pairs.for_each(|(to, from)| *to = nearest_even(from.to_bits(), 16) as u16);
        } else {
            pairs.for_each(|(to, from)| *to = round_f16(*from));
        }
    }
}

/// `bits / 2^count`, a carry into the exponent being right.
#[inline(always)]
fn nearest_even(bits: u32, count: u32) -> u32 {
    let (half, odd) = ((1 << (count - 1)) - 1, bits >> count & 1);
    bits.wrapping_add(half + odd) >> count
}

#[inline(always)]
fn round_f16(value: f32) -> u16 {
    const LEAST_NORMAL: u32 = (127 - 14) << 23;
    // Halfway from the largest number to the next power.
    const INFINITE: u32 = 0x477f_f000;
    let (sign, size) = (value.to_bits() >> 16 & 0x8000, value.to_bits() & 0x7fff_ffff);
    let normal = nearest_even(size.wrapping_sub(112 << 23), 13);
    // The sum's unit is that of f16's subnormal numbers.
    let subnormal = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let finite = if size < LEAST_NORMAL { subnormal } else { normal };
    (sign | if size < INFINITE { finite } else { 0x7c00 }) as u16
}

/// NaN, which is rare: a look, and where there is one, one by one.
struct RoundNan<'a> {
    dtype: DType,
    from: &'a [f32],
    to: &'a mut [u16],
}

impl Kernel for RoundNan<'_> {
    #[inline(always)]
    fn run<const NATIVE: bool>(self) {
        if self.from.iter().fold(false, |any, value| any | value.is_nan()) {
            let nans = self.to.iter_mut().zip(self.from).filter(|(_, value)| value.is_nan());
            nans.for_each(|(to, value)| *to = self.dtype.round(*value) as u16);
        }
    }
}

struct Pack<'a> {
    values: &'a [f32],
    words: &'a mut [u32],
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<const NATIVE: bool>(self) {
        let pack = |values: &[f32]| {
            values.iter().zip(0..).fold(0, |word, (value, i)| word | u32::from(*value != 0.0) << i)
        };
        let (whole, rest) = self.values.as_chunks::<32>();
        let (words, last) = self.words.split_at_mut(whole.len());
        words.iter_mut().zip(whole).for_each(|(word, values)| *word = pack(values));
        for word in last {
            *word = pack(rest);
        }
    }
}

/// F16C, which makes signalling NaNs quiet.
#[cfg(target_arch = "x86_64")]
mod f16c {
    use std::arch::x86_64::{_MM_FROUND_TO_NEAREST_INT, _mm256_cvtph_ps, _mm256_cvtps_ph};

    use super::{Level, round_f16, widen_f16};

    #[expect(unsafe_code, reason = "instructions that the target may lack are called")]
    pub(super) fn widen(level: Level, from: &[u16], to: &mut [f32]) {
        assert!(level.has_f16());
        // SAFETY: the level has F16C.
        unsafe { widen_vectors(from, to) };
    }

    /// Anything but NaN.
    #[expect(unsafe_code, reason = "instructions that the target may lack are called")]
    pub(super) fn round(level: Level, from: &[f32], to: &mut [u16]) {
        assert!(level.has_f16());
        // SAFETY: the level has F16C.
        unsafe { round_vectors(from, to) };
    }

    #[target_feature(enable = "avx2,f16c")]
    fn widen_vectors(from: &[u16], to: &mut [f32]) {
        let ((vectors, rest), (to_vectors, to_rest)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
        for (from, to) in vectors.iter().zip(to_vectors) {
            *to = bytemuck::cast(_mm256_cvtph_ps(bytemuck::cast(*from)));
        }
        to_rest.iter_mut().zip(rest).for_each(|(to, from)| *to = widen_f16(*from));
        let nan = |bits: u16| bits & 0x7fff > 0x7c00;
        if from.iter().fold(false, |any, bits| any | nan(*bits)) {
            let nans = to.iter_mut().zip(from).filter(|(_, bits)| nan(**bits));
            nans.for_each(|(to, bits)| *to = widen_f16(*bits));
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    fn round_vectors(from: &[f32], to: &mut [u16]) {
        let ((vectors, rest), (to_vectors, to_rest)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
        for (from, to) in vectors.iter().zip(to_vectors) {
            let rounded = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(bytemuck::cast(*from));
            *to = bytemuck::cast(rounded);
        }
        to_rest.iter_mut().zip(rest).for_each(|(to, from)| *to = round_f16(*from));
    }
}
