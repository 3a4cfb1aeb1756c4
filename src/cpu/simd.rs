//! Vector instructions, chosen at run time, behind safe functions.
//!
//! A kernel is plain loops that the compiler vectorises, once for each set of instructions.

use std::{marker::PhantomData, sync::OnceLock};

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// A set of vector instructions that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Baseline(Baseline),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
}

/// Loops over slices, compiled for every [`Level`]: mark `run` and what it calls `#[inline(always)]`.
pub(crate) trait Kernel {
    fn run<V: Vectors>(self, vectors: V);
}

/// What a [`Level`] can do. A value of such a type is the proof that this machine has the instructions.
pub(crate) trait Vectors: Copy {
    /// `f32::mul_add` and `floor` are instructions.
    const NATIVE: bool;

    /// Widens from f16 where there are instructions for it; whether that was right, since they make NaN quiet.
    #[inline(always)]
    fn widen_f16<const N: usize>(self, _from: &[u16; N], _to: &mut [f32; N]) -> bool {
        false
    }

    /// Rounds to f16, likewise.
    #[inline(always)]
    fn round_f16<const N: usize>(self, _from: &[f32; N], _to: &mut [u16; N]) -> bool {
        false
    }

    /// Copies a line past the caches where the target can, for which `to` begins a line.
    #[inline(always)]
    fn stream<'a>(self, from: &[u8; LINE], to: &'a mut [u8; LINE], _order: &Stream<'a>) {
        to.copy_from_slice(from);
    }
}

/// `v.floor()`, in arithmetic that vectorises where there is no instruction for it.
#[inline(always)]
pub(crate) fn floor<V: Vectors>(v: f32) -> f32 {
    // From 2^23 on a number is an integer; below, the sum's unit is 1.
    const ALIGN: f32 = (1 << 23) as f32;
    if V::NATIVE {
        return v.floor();
    }
    let size = v.abs();
    let nearest = if size < ALIGN { ((size + ALIGN) - ALIGN).copysign(v) } else { v };
    if nearest > v { nearest - 1.0 } else { nearest }
}

/// One of two, both of which are loaded: a choice of where to load from would be compiled to a gather.
#[inline(always)]
pub(crate) fn pick(condition: bool, accept: f32, reject: f32) -> f32 {
    let accepted = u32::from(condition).wrapping_neg();
    f32::from_bits(accept.to_bits() & accepted | reject.to_bits() & !accepted)
}

/// What every machine of the target has: SSE2 on x86-64, NEON on `AArch64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Baseline;

impl Vectors for Baseline {
    const NATIVE: bool = cfg!(target_arch = "aarch64");
}

impl Level {
    /// The best of this machine.
    #[inline]
    pub(crate) fn detect() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| *Self::all().last().expect("the baseline"))
    }

    /// All of this machine, the best last.
    pub(crate) fn all() -> Vec<Self> {
        let levels = [Self::Baseline(Baseline)].into_iter();
        #[cfg(target_arch = "x86_64")]
        let levels =
            levels.chain(x86::Avx2::detect().map(Self::Avx2)).chain(x86::Avx512::detect().map(Self::Avx512));
        levels.collect()
    }

    /// Runs the kernel that is compiled for this level.
    pub(crate) fn run(self, kernel: impl Kernel) {
        match self {
            Self::Baseline(vectors) => kernel.run(vectors),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(vectors) => vectors.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(vectors) => vectors.run(kernel),
        }
    }
}

/// That copies past the caches are in order with everything else once this is dropped: what is copied to is borrowed for
/// longer than this lives, so nobody sees it before.
pub(crate) struct Stream<'a>(PhantomData<&'a mut &'a mut [u8]>);

/// Runs work that may copy past the caches; what it copied is in memory for every thread when this returns.
pub(crate) fn in_order<'a>(work: impl FnOnce(&Stream<'a>)) {
    work(&Stream(PhantomData));
}

impl<'a> Stream<'a> {
    /// Copies slices of one length, past the caches where the target begins a line.
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
    #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a fence has no safe form"))]
    fn drop(&mut self) {
        // SAFETY: SSE is part of every x86-64.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::x86_64::_mm_sfence();
        }
    }
}

/// Asks for the line of memory at an address, which may be any: asking has no effect but on time.
#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a prefetch has no safe form"))]
pub(crate) fn prefetch(line: *const u8) {
    // SAFETY: a prefetch does not fault.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "instructions that the target may lack are called, with types that prove that it does not"
)]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _CMP_UNORD_Q, _MM_FROUND_TO_NEAREST_INT, _mm256_cmp_ps, _mm256_cvtph_ps,
        _mm256_cvtps_ph, _mm256_movemask_ps, _mm256_stream_si256, _mm512_cmp_ps_mask, _mm512_cvtph_ps,
        _mm512_cvtps_ph, _mm512_stream_si512,
    };

    use bytemuck::cast;

    use super::{Kernel, LINE, Stream, Vectors};

    /// AVX2, FMA and F16C.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx2(());

    /// AVX-512 F, BW, DQ and VL besides.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx512(());

    impl Avx2 {
        pub(super) fn detect() -> Option<Self> {
            let has = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            has.then_some(Self(()))
        }

        pub(super) fn run(self, kernel: impl Kernel) {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn compiled(vectors: Avx2, kernel: impl Kernel) {
                kernel.run(vectors);
            }
            // SAFETY: `self` proves it.
            unsafe { compiled(self, kernel) }
        }
    }

    impl Avx512 {
        pub(super) fn detect() -> Option<Self> {
            let has = Avx2::detect().is_some()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            has.then_some(Self(()))
        }

        pub(super) fn run(self, kernel: impl Kernel) {
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
            fn compiled(vectors: Avx512, kernel: impl Kernel) {
                kernel.run(vectors);
            }
            // SAFETY: `self` proves it.
            unsafe { compiled(self, kernel) }
        }
    }

    impl Vectors for Avx2 {
        const NATIVE: bool = true;

        #[inline(always)]
        fn widen_f16<const N: usize>(self, from: &[u16; N], to: &mut [f32; N]) -> bool {
            #[inline]
            #[target_feature(enable = "avx2,f16c")]
            fn widen(from: &[u16; 8], to: &mut [f32; 8]) -> bool {
                let wide = _mm256_cvtph_ps(cast(*from));
                *to = cast(wide);
                _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(wide, wide)) != 0
            }
            const { assert!(N.is_multiple_of(8)) };
            let mut any_nan = false;
            for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
                // SAFETY: `self` proves it.
                any_nan |= unsafe { widen(from, to) };
            }
            !any_nan
        }

        #[inline(always)]
        fn round_f16<const N: usize>(self, from: &[f32; N], to: &mut [u16; N]) -> bool {
            #[inline]
            #[target_feature(enable = "avx2,f16c")]
            fn round(from: &[f32; 8], to: &mut [u16; 8]) -> bool {
                let wide = cast(*from);
                *to = cast(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide));
                _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(wide, wide)) != 0
            }
            const { assert!(N.is_multiple_of(8)) };
            let mut any_nan = false;
            for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
                // SAFETY: `self` proves it.
                any_nan |= unsafe { round(from, to) };
            }
            !any_nan
        }

        #[inline(always)]
        fn stream<'a>(self, from: &[u8; LINE], to: &'a mut [u8; LINE], _order: &Stream<'a>) {
            let vectors: [__m256i; 2] = cast(*from);
            assert_eq!(to.as_ptr().align_offset(LINE), 0);
            for (vector, to) in vectors.into_iter().zip(to.as_chunks_mut::<32>().0) {
                // SAFETY: `self` proves the instruction; `to` is aligned, exclusively borrowed, and not read before the
                // fence with which `_order` ends.
                unsafe { _mm256_stream_si256(to.as_mut_ptr().cast(), vector) };
            }
        }
    }

    impl Vectors for Avx512 {
        const NATIVE: bool = true;

        #[inline(always)]
        fn widen_f16<const N: usize>(self, from: &[u16; N], to: &mut [f32; N]) -> bool {
            #[inline]
            #[target_feature(enable = "avx512f")]
            fn widen(from: &[u16; 16], to: &mut [f32; 16]) -> bool {
                let wide = _mm512_cvtph_ps(cast(*from));
                *to = cast(wide);
                _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(wide, wide) != 0
            }
            const { assert!(N.is_multiple_of(16)) };
            let mut any_nan = false;
            for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
                // SAFETY: `self` proves it.
                any_nan |= unsafe { widen(from, to) };
            }
            !any_nan
        }

        #[inline(always)]
        fn round_f16<const N: usize>(self, from: &[f32; N], to: &mut [u16; N]) -> bool {
            #[inline]
            #[target_feature(enable = "avx512f")]
            fn round(from: &[f32; 16], to: &mut [u16; 16]) -> bool {
                let wide = cast(*from);
                *to = cast(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide));
                _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(wide, wide) != 0
            }
            const { assert!(N.is_multiple_of(16)) };
            let mut any_nan = false;
            for (from, to) in from.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
                // SAFETY: `self` proves it.
                any_nan |= unsafe { round(from, to) };
            }
            !any_nan
        }

        /// At once: parts of a line cost time.
        #[inline(always)]
        fn stream<'a>(self, from: &[u8; LINE], to: &'a mut [u8; LINE], _order: &Stream<'a>) {
            #[inline]
            #[target_feature(enable = "avx512f")]
            unsafe fn stream(from: &[u8; LINE], to: *mut __m512i) {
                // SAFETY: as below.
                unsafe { _mm512_stream_si512(to, cast(*from)) }
            }
            assert_eq!(to.as_ptr().align_offset(LINE), 0);
            // SAFETY: as above.
            unsafe { stream(from, to.as_mut_ptr().cast()) };
        }
    }
}
