//! Vector instructions, chosen at run time, behind safe functions.
//!
//! A kernel is plain loops. The compiler vectorises them once for each instruction set.

use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use fearless_simd::x86::{Avx2, Avx512};

/// The bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// A vector instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Baseline(Baseline),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// Loops over slices, compiled for every [`Level`]. Mark `run` and what it calls `#[inline(always)]`.
pub(crate) trait Kernel {
    fn run<V: Vectors>(self, vectors: V);
}

/// The abilities of a [`Level`]. A value of such a type proves that this machine has the instructions.
pub(crate) trait Vectors: Copy {
    /// Whether `f32::mul_add` and `floor` are instructions.
    const NATIVE: bool;

    /// Runs work with the instructions. Mark it `#[inline(always)]`, with what it calls.
    fn vectorize(self, work: impl FnOnce());

    /// Widens from f16 if there are instructions for it. Returns whether the result is right: the instructions make
    /// NaN quiet.
    #[inline(always)]
    fn widen_f16<const N: usize>(self, _from: &[u16; N], _to: &mut [f32; N]) -> bool {
        false
    }

    /// Rounds to f16 in the same way.
    #[inline(always)]
    fn round_f16<const N: usize>(self, _from: &[f32; N], _to: &mut [u16; N]) -> bool {
        false
    }

    /// Copies a line. It bypasses the caches if the target can, for which `to` must be at the start of a cache line.
    #[inline(always)]
    fn stream<'a>(self, from: &[u8; LINE], to: &'a mut [u8; LINE], _order: &Stream<'a>) {
        to.copy_from_slice(from);
    }
}

/// `v.floor()`. If there is no instruction for it, in arithmetic that vectorises.
#[inline(always)]
pub(crate) fn floor<V: Vectors>(v: f32) -> f32 {
    // Every number from 2^23 on is an integer. Below, the sum has a unit of 1.
    const ALIGN: f32 = (1 << 23) as f32;
    if V::NATIVE {
        return v.floor();
    }
    let size = v.abs();
    let nearest = if size < ALIGN { ((size + ALIGN) - ALIGN).copysign(v) } else { v };
    if nearest > v { nearest - 1.0 } else { nearest }
}

/// Selects one of two values. Both are loaded: selecting the address to load from would compile to a gather.
#[inline(always)]
pub(crate) fn pick(condition: bool, accept: f32, reject: f32) -> f32 {
    let accepted = u32::from(condition).wrapping_neg();
    f32::from_bits(accept.to_bits() & accepted | reject.to_bits() & !accepted)
}

/// The instruction set that every machine of the target has: SSE2 on x86-64, NEON on `AArch64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Baseline;

impl Vectors for Baseline {
    const NATIVE: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    fn vectorize(self, work: impl FnOnce()) {
        work();
    }
}

impl Level {
    /// The best level of this machine.
    #[inline]
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        match fearless_simd::Level::new() {
            fearless_simd::Level::Avx512(token) => return Self::Avx512(token),
            fearless_simd::Level::Avx2(token) => return Self::Avx2(token),
            _ => {}
        }
        Self::Baseline(Baseline)
    }

    /// All levels of this machine, the best last.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let levels = [Self::Baseline(Baseline)].into_iter();
        #[cfg(target_arch = "x86_64")]
        let best = fearless_simd::Level::new();
        #[cfg(target_arch = "x86_64")]
        let levels = levels.chain(best.as_avx2().map(Self::Avx2)).chain(best.as_avx512().map(Self::Avx512));
        levels.collect()
    }

    /// Runs the kernel as compiled for this level.
    pub(crate) fn run(self, kernel: impl Kernel) {
        match self {
            Self::Baseline(vectors) => run(vectors, kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(vectors) => run(vectors, kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(vectors) => run(vectors, kernel),
        }
    }
}

#[inline(always)]
fn run<V: Vectors>(vectors: V, kernel: impl Kernel) {
    vectors.vectorize(
        #[inline(always)]
        || kernel.run(vectors),
    );
}

/// Dropping this orders the copies that bypass the caches with all other memory accesses. The targets are borrowed
/// for longer than this lives, so nobody sees them before.
///
/// It stays on its thread, since the fence orders the copies of this thread only.
pub(crate) struct Stream<'a>(PhantomData<(&'a mut &'a mut [u8], *const ())>);

/// Runs work that may copy around the caches. The copies are in memory for every thread when this returns.
pub(crate) fn in_order<'a>(work: impl FnOnce(&Stream<'a>)) {
    work(&Stream(PhantomData));
}

impl<'a> Stream<'a> {
    /// Copies slices of one length. The copy bypasses the caches if the target is whole cache lines.
    #[inline(always)]
    pub(crate) fn copy(&self, vectors: impl Vectors, from: &[u8], to: &'a mut [u8]) {
        if to.as_ptr().align_offset(LINE) > 0 || !to.len().is_multiple_of(LINE) {
            return to.copy_from_slice(from);
        }
        for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
            vectors.stream(from, to, self);
        }
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        x86::fence(x86::baseline());
    }
}

/// Prefetches the cache line at an address. The address may be any: a prefetch affects only time.
#[inline(always)]
pub(crate) fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(x86::baseline(), line);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _CMP_UNORD_Q, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_prefetch, _mm_sfence, _mm256_cmp_ps,
        _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_movemask_ps, _mm256_stream_si256, _mm512_cmp_ps_mask,
        _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_stream_si512,
    };

    use bytemuck::cast;
    use fearless_simd::{
        Level, Simd, kernel,
        x86::{Avx2, Avx512, Sse2},
    };

    use super::{LINE, Stream, Vectors};

    /// SSE2, part of every x86-64.
    #[inline(always)]
    pub(super) fn baseline() -> Sse2 {
        Level::baseline().as_sse2().expect("x86-64")
    }

    kernel!(
        #[inline(always)]
        pub(super) fn fence(_token: Sse2) {
            _mm_sfence();
        }
    );

    kernel!(
        #[inline(always)]
        pub(super) fn prefetch(_token: Sse2, line: *const u8) {
            _mm_prefetch::<_MM_HINT_T0>(line.cast());
        }
    );

    kernel!(
        #[inline(always)]
        fn widen_8(_token: Avx2, from: &[u16; 8], to: &mut [f32; 8]) -> bool {
            let wide = _mm256_cvtph_ps(cast(*from));
            *to = cast(wide);
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(wide, wide)) != 0
        }
    );

    kernel!(
        #[inline(always)]
        fn round_8(_token: Avx2, from: &[f32; 8], to: &mut [u16; 8]) -> bool {
            let wide = cast(*from);
            *to = cast(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide));
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(wide, wide)) != 0
        }
    );

    kernel!(
        #[inline(always)]
        fn widen_16(_token: Avx512, from: &[u16; 16], to: &mut [f32; 16]) -> bool {
            let wide = _mm512_cvtph_ps(cast(*from));
            *to = cast(wide);
            _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(wide, wide) != 0
        }
    );

    kernel!(
        #[inline(always)]
        fn round_16(_token: Avx512, from: &[f32; 16], to: &mut [u16; 16]) -> bool {
            let wide = cast(*from);
            *to = cast(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide));
            _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(wide, wide) != 0
        }
    );

    kernel!(
        #[inline(always)]
        #[expect(unsafe_code, reason = "a store past the caches has no safe form")]
        fn stream_halves(_token: Avx2, from: &[u8; LINE], to: &mut [u8; LINE], _order: &Stream) {
            assert_eq!(to.as_ptr().align_offset(LINE), 0);
            for (from, to) in from.as_chunks::<32>().0.iter().zip(to.as_chunks_mut::<32>().0) {
                // SAFETY: `to` is aligned, exclusively borrowed, and not read before the fence at the end of
                // `_order`.
                unsafe { _mm256_stream_si256(to.as_mut_ptr().cast(), cast(*from)) };
            }
        }
    );

    // All at once: storing parts of a line costs time.
    kernel!(
        #[inline(always)]
        #[expect(unsafe_code, reason = "a store past the caches has no safe form")]
        fn stream_line(_token: Avx512, from: &[u8; LINE], to: &mut [u8; LINE], _order: &Stream) {
            assert_eq!(to.as_ptr().align_offset(LINE), 0);
            // SAFETY: as above.
            unsafe { _mm512_stream_si512(to.as_mut_ptr().cast(), cast(*from)) };
        }
    );

    impl Vectors for Avx2 {
        const NATIVE: bool = true;

        #[inline(always)]
        fn vectorize(self, work: impl FnOnce()) {
            Simd::vectorize(self, work);
        }

        #[inline(always)]
        fn widen_f16<const N: usize>(self, from: &[u16; N], to: &mut [f32; N]) -> bool {
            const { assert!(N.is_multiple_of(8)) };
            let mut any_nan = false;
            for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
                any_nan |= widen_8(self, from, to);
            }
            !any_nan
        }

        #[inline(always)]
        fn round_f16<const N: usize>(self, from: &[f32; N], to: &mut [u16; N]) -> bool {
            const { assert!(N.is_multiple_of(8)) };
            let mut any_nan = false;
            for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
                any_nan |= round_8(self, from, to);
            }
            !any_nan
        }

        #[inline(always)]
        fn stream<'a>(self, from: &[u8; LINE], to: &'a mut [u8; LINE], order: &Stream<'a>) {
            stream_halves(self, from, to, order);
        }
    }

    impl Vectors for Avx512 {
        const NATIVE: bool = true;

        #[inline(always)]
        fn vectorize(self, work: impl FnOnce()) {
            Simd::vectorize(self, work);
        }

        #[inline(always)]
        fn widen_f16<const N: usize>(self, from: &[u16; N], to: &mut [f32; N]) -> bool {
            const { assert!(N.is_multiple_of(16)) };
            let mut any_nan = false;
            for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
                any_nan |= widen_16(self, from, to);
            }
            !any_nan
        }

        #[inline(always)]
        fn round_f16<const N: usize>(self, from: &[f32; N], to: &mut [u16; N]) -> bool {
            const { assert!(N.is_multiple_of(16)) };
            let mut any_nan = false;
            for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
                any_nan |= round_16(self, from, to);
            }
            !any_nan
        }

        #[inline(always)]
        fn stream<'a>(self, from: &[u8; LINE], to: &'a mut [u8; LINE], order: &Stream<'a>) {
            stream_line(self, from, to, order);
        }
    }
}
