//! The activation `spiky`: `r = x mod 1`; `r` where `r <= 0.5`, else 0.
//!
//! | output | formula | special cases |
//! |---|---|---|
//! | `z` | `r` where `r <= 0.5`, else `+0`, with `r = mod(x, 1)` rounded | NaN and ±inf: `+0`; integers and `-0`: `+0` |
//! | `dx` | `dz`, the same bits, where `r <= 0.5`, else `+0` | NaN and ±inf in `x`: `+0`; integers: `dz` |
//!
//! ```
//! use elemgrad::spiky;
//! assert_eq!([0.2, 0.7, 1.2, 1.7].map(spiky::forward), [0.2, 0.0, 0.20000005, 0.0]);
//! assert_eq!([0.2, 0.7, 1.2, 1.7].map(|x| spiky::backward(x, 1.0)), [1.0, 0.0, 1.0, 0.0]);
//! ```

use std::sync::LazyLock;

use super::{Args, Block, Definition, IntoArgs, Op, OutputDefinition, Outputs, modulo};
use crate::{
    DType,
    cpu::{
        block::Lanes,
        simd::Vectors,
        storage::{Aligned, LANES, Wide},
    },
    numeric::{floor, pick},
};

/// The op `spiky`, for calls that take any [`Op`].
#[derive(Clone, Copy, Debug)]
pub struct Spiky;

static DEFINITION: LazyLock<Definition> = LazyLock::new(|| Definition {
    name: "spiky".into(),
    inputs: vec!["x".into()],
    functions: vec![
        include_str!("../../shaders/numeric/f32.wgsl").into(),
        include_str!("../../shaders/ops/spiky.wgsl").into(),
    ],
    lets: vec![("s".into(), "spiky(x)".into()), ("mask".into(), "s.mask".into())],
    outputs: vec![
        OutputDefinition::z("s.z", "r where r = x mod 1 <= 0.5, else 0"),
        OutputDefinition::gradient("x", "dz", "dz where r <= 0.5, else 0").gated(),
        OutputDefinition::mask("mask", "r <= 0.5"),
    ],
});

/// The output `mask` of [`Spiky`]: `r <= 0.5`.
pub const MASK: Outputs = Outputs::of(2);

impl Op for Spiky {
    fn definition(&self) -> &Definition {
        &DEFINITION
    }

    fn reference(&self, storage: DType, reads: &[f32], writes: &mut [f32]) {
        let r = modulo::forward(reads[0], 1.0);
        let r = storage.widen(storage.round(r));
        let mask = r <= 0.5;
        writes.copy_from_slice(&[
            if mask { r } else { 0.0 },
            if mask { reads[1] } else { 0.0 },
            f32::from(mask),
        ]);
    }

    fn cpu(&self, storage: DType, block: Block) {
        let wanted = block.outputs();
        let cut = Cut { most: most(storage), other: 0.0 };
        cut.on_lanes(block, [0, 1], [0, 1, 2].map(|w| wanted.contains(w).then_some(w)));
    }
}

/// Every `r` up to here rounds to 0.5 or less: half a unit above 0.5 is a tie, and 0.5 is the even neighbour.
fn most(storage: DType) -> f32 {
    match storage {
        DType::F32 => 0.5,
        DType::F16 => 0.5 + 2.0_f32.powi(-12),
        DType::Bf16 => 0.5 + 2.0_f32.powi(-9),
    }
}

/// What is done with `r = x - floor(x)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The largest `r` that is not cut off.
    pub(crate) most: f32,
    /// What is in the place of what is cut off.
    pub(crate) other: f32,
}

impl Cut {
    /// The wanted ones of `z`, `dx` and the mask, by the numbers of `x` and the upstream gradient.
    pub(crate) fn on_lanes(mut self, block: Block, [x, upstream]: [usize; 2], writes: [Option<usize>; 3]) {
        match writes {
            [Some(z), None, None] => block.lanes([x], [z], &mut self),
            [None, Some(dx), None] => block.lanes([x, upstream], [dx], &mut self),
            [Some(z), Some(dx), None] => block.lanes([x, upstream], [z, dx], &mut self),
            _ => block.lanes([x, upstream], writes.map(|w| w.unwrap_or(usize::MAX)), &mut self),
        }
    }

    /// `r`, and whether it is not cut off.
    #[inline(always)]
    fn kept<V: Vectors>(self, x: f32) -> (f32, bool) {
        // The floor is exact, so the difference rounds once; it is NaN where x is NaN or infinite, and compares false.
        let r = x - floor::<V>(x);
        (r, r <= self.most)
    }
}

impl Lanes<1, 1> for Cut {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, _: V, [x]: [&Wide; 1], [Aligned(z)]: &mut [Aligned<Wide>; 1]) {
        for i in 0..LANES {
            let (r, kept) = self.kept::<V>(x[i]);
            z[i] = pick(kept, r, self.other);
        }
    }
}

impl Lanes<2, 1> for Cut {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, _: V, [x, upstream]: [&Wide; 2], [Aligned(dx)]: &mut [Aligned<Wide>; 1]) {
        for i in 0..LANES {
            dx[i] = pick(self.kept::<V>(x[i]).1, upstream[i], self.other);
        }
    }
}

impl Lanes<2, 2> for Cut {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [x, upstream]: [&Wide; 2],
        [Aligned(z), Aligned(dx)]: &mut [Aligned<Wide>; 2],
    ) {
        for i in 0..LANES {
            let (r, kept) = self.kept::<V>(x[i]);
            (z[i], dx[i]) = (pick(kept, r, self.other), pick(kept, upstream[i], self.other));
        }
    }
}

impl Lanes<2, 3> for Cut {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [x, upstream]: [&Wide; 2],
        [Aligned(z), Aligned(dx), Aligned(mask)]: &mut [Aligned<Wide>; 3],
    ) {
        for i in 0..LANES {
            let (r, kept) = self.kept::<V>(x[i]);
            (z[i], dx[i]) = (pick(kept, r, self.other), pick(kept, upstream[i], self.other));
            mask[i] = pick(kept, 1.0, 0.0);
        }
    }
}

/// `spiky(x)`: `r` where `r <= 0.5`, else `+0`, with `r = mod(x, 1)`.
pub fn forward(x: f32) -> f32 {
    let r = modulo::forward(x, 1.0);
    if r <= 0.5 { r } else { 0.0 }
}

/// The gradient with respect to `x`, given the upstream gradient: `dz` where `r <= 0.5`, else `+0`.
pub fn backward(x: f32, dz: f32) -> f32 {
    if modulo::forward(x, 1.0) <= 0.5 { dz } else { 0.0 }
}

/// [`forward`] and [`backward`] at once: `(z, dx)`.
pub fn fused(x: f32, dz: f32) -> (f32, f32) {
    let r = modulo::forward(x, 1.0);
    if r <= 0.5 { (r, dz) } else { (0.0, 0.0) }
}

/// Arguments of the forward pass, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Forward<I, O> {
    /// The input.
    pub x: I,
    /// The output.
    pub z: O,
}

/// Arguments of a forward pass that saves its mask, for a backward pass without `x`: `z` may then overwrite `x`.
#[derive(Clone, Copy, Debug)]
pub struct ForwardSaving<I, O, M> {
    /// The input.
    pub x: I,
    /// The output.
    pub z: O,
    /// The mask, a bit an element: element `i` is bit `i % 32` of word `i / 32`, and the unused bits of the last word are 0.
    pub mask: M,
}

/// Arguments of the backward pass from a saved mask.
#[derive(Clone, Copy, Debug)]
pub struct BackwardSaved<I, O, M> {
    /// What [`ForwardSaving`] saved.
    pub mask: M,
    /// The upstream gradient.
    pub dz: I,
    /// The gradient with respect to `x`.
    pub dx: O,
}

/// Arguments of the backward pass, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Backward<I, O> {
    /// The input.
    pub x: I,
    /// The upstream gradient.
    pub dz: I,
    /// The gradient with respect to `x`.
    pub dx: O,
}

/// Arguments of the fused pass, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Fused<I, O> {
    /// The input.
    pub x: I,
    /// The upstream gradient.
    pub dz: I,
    /// The output.
    pub z: O,
    /// The gradient with respect to `x`.
    pub dx: O,
}

impl<I, O, A: Into<I>, B: Into<O>> IntoArgs<'static, I, O> for Forward<A, B> {
    fn into_args(self) -> Args<'static, I, O> {
        Args::new(&Spiky, vec![Some(self.x.into())], vec![Some(self.z.into())])
    }
}

impl<I, O, A: Into<I>, B: Into<O>> IntoArgs<'static, I, O> for Backward<A, B> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = vec![Some(self.x.into()), Some(self.dz.into())];
        Args::new(&Spiky, reads, vec![None, Some(self.dx.into())])
    }
}

impl<I, O, A: Into<I>, B: Into<O>> IntoArgs<'static, I, O> for Fused<A, B> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = vec![Some(self.x.into()), Some(self.dz.into())];
        Args::new(&Spiky, reads, vec![Some(self.z.into()), Some(self.dx.into())])
    }
}

impl<I, O, A: Into<I>, B: Into<O>, M: Into<O>> IntoArgs<'static, I, O> for ForwardSaving<A, B, M> {
    fn into_args(self) -> Args<'static, I, O> {
        let writes = vec![Some(self.z.into()), None, Some(self.mask.into())];
        Args::new(&Spiky, vec![Some(self.x.into())], writes)
    }
}

impl<I, O, A: Into<I>, B: Into<O>, M: Into<I>> IntoArgs<'static, I, O> for BackwardSaved<A, B, M> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = vec![None, Some(self.dz.into()), Some(self.mask.into())];
        Args::new(&Spiky, reads, vec![None, Some(self.dx.into())])
    }
}
