//! Vector instructions, chosen at run time, behind safe functions.
//!
//! A kernel is a plain loop that the compiler vectorises, once for each set of instructions.

use std::{marker::PhantomData, sync::OnceLock};

/// A set of vector instructions that this machine has: there is no other way to one than [`Level::detect`] and
/// [`Level::all`], on which the soundness of [`Level::run`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// What every machine of the target has: SSE2 on x86-64, NEON on `AArch64`.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// A loop over slices, compiled for every [`Level`]: mark `run` and what it calls `#[inline(always)]`.
pub(crate) trait Kernel {
    /// `NATIVE`: `f32::mul_add`, `floor` and `round_ties_even` are instructions.
    fn run<const NATIVE: bool>(self);
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
        let mut all = vec![Self(Set::Baseline)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(has_avx2().then_some(Self(Set::Avx2)));
            all.extend(has_avx512().then_some(Self(Set::Avx512)));
        }
        all
    }

    /// Whether there are instructions for f16: F16C, which comes with AVX2 here.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_f16(self) -> bool {
        self.0 != Set::Baseline
    }

    /// Runs the kernel that is compiled for this level.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(unsafe_code, reason = "instructions that the target may lack are called")
    )]
    pub(crate) fn run(self, kernel: impl Kernel) {
        match self.0 {
            Set::Baseline => kernel.run::<{ cfg!(target_arch = "aarch64") }>(),
            // SAFETY: a level is one that this machine has.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn avx2(kernel: impl Kernel) {
    kernel.run::<true>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(kernel: impl Kernel) {
    kernel.run::<true>();
}

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Runs work that may copy past the caches; what it copied there is in memory for every thread when this returns.
pub(crate) fn past_caches<'a>(work: impl FnOnce(&mut Stream<'a>)) {
    work(&mut Stream(PhantomData));
}

/// Copies past the caches. Nobody sees the copies, which are borrowed for longer, before this is dropped.
pub(crate) struct Stream<'a>(PhantomData<&'a mut &'a mut [u8]>);

impl<'a> Stream<'a> {
    /// Copies slices of one length, past the caches where the target can; may call `between` after every `group` lines.
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "non-temporal stores have no safe form")]
    #[expect(clippy::unused_self, reason = "the fence is at its end")]
    pub(crate) fn copy(&mut self, from: &[u8], to: &'a mut [u8], group: usize, mut between: impl FnMut()) {
        use std::arch::x86_64::{__m128i, _mm_stream_si128};

        let head = to.as_ptr().align_offset(size_of::<__m128i>()).min(to.len());
        let ((from_head, from), (to_head, to)) = (from.split_at(head), to.split_at_mut(head));
        let ((from, from_tail), (to, to_tail)) = (from.as_chunks::<LINE>(), to.as_chunks_mut::<LINE>());
        if head > 0 || !from_tail.is_empty() {
            to_head.copy_from_slice(from_head);
            to_tail.copy_from_slice(from_tail);
        }
        for (from, to) in from.chunks(group).zip(to.chunks_mut(group)) {
            for (from, to) in from.iter().zip(to) {
                let vectors: [__m128i; 4] = bytemuck::cast(*from);
                for (vector, to) in vectors.into_iter().zip(to.as_chunks_mut::<16>().0) {
                    // SAFETY: SSE2 is part of every x86-64; `to` is 16 bytes behind an exclusive reference, aligned since
                    // `head` is left out; it stays borrowed until the fence.
                    unsafe { _mm_stream_si128(to.as_mut_ptr().cast(), vector) };
                }
            }
            between();
        }
    }

    /// Copies slices of one length.
    #[cfg(not(target_arch = "x86_64"))]
    #[expect(clippy::unused_self, reason = "as above")]
    pub(crate) fn copy(&mut self, from: &[u8], to: &'a mut [u8], _group: usize, _between: impl FnMut()) {
        to.copy_from_slice(from);
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
