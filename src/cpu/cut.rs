//! `spiky` on lanes: numbers are cut off if the fraction of one of them is too large.

use super::{
    block::{Block, Lanes},
    simd::{Vectors, floor, pick},
    storage::{Aligned, LANES, Wide},
};

/// What to do with `r = x - floor(x)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The largest `r` that is not cut off.
    pub(crate) most: f32,
    /// The replacement for a number that is cut off.
    pub(crate) other: f32,
}

impl Cut {
    /// Computes the wanted outputs of `z`, `dx` and the mask. The arguments are the numbers of reads and writes.
    pub(crate) fn on_lanes(mut self, block: Block, [x, upstream]: [usize; 2], writes: [Option<usize>; 3]) {
        match writes {
            [Some(z), None, None] => block.lanes([x], [z], &mut self),
            [None, Some(dx), None] => block.lanes([x, upstream], [dx], &mut self),
            [Some(z), Some(dx), None] => block.lanes([x, upstream], [z, dx], &mut self),
            _ => block.lanes([x, upstream], writes.map(|w| w.unwrap_or(usize::MAX)), &mut self),
        }
    }

    /// `r`, and whether it is kept.
    #[inline(always)]
    fn kept<V: Vectors>(self, x: f32) -> (f32, bool) {
        // The floor is exact, so the difference rounds once. It is NaN if x is NaN or infinite; NaN compares false.
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
