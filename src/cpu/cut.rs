//! What `spiky` does, on lanes: numbers that are cut off where the fraction of one of them is too large.

use super::{
    block::{Block, Lanes},
    simd::{Vectors, floor, pick},
    storage::{Aligned, LANES, Wide},
};

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
