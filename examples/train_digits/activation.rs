//! The activations: `spiky`, the same with a surrogate gradient, and one that has no jumps.
//!
//! `spiky` is periodic, so its slope has the mean 0: it rises by a half in one half of the period, and falls by a half in
//! the jump. Its gradient is 1 where it rises and 0 elsewhere. It cannot see the jump, and says that all in all the way
//! up is up.

use elemgrad::{Op, spiky::Spiky};

use crate::by_hand::Variant;

/// `r` where `r = x mod 1 <= 0.5`, else 0; its gradient is `dz` where `r <= 0.5`, else 0.
pub(crate) fn spiky() -> Box<dyn Op> {
    Box::new(Spiky)
}

/// `spiky` with the gradient `dz` where `r <= 0.5`, else `-dz`: the fall by a half is spread evenly over the half of the
/// period that the jump opens, so that the mean is 0 again.
pub(crate) fn spiky_with_surrogate() -> Box<dyn Op> {
    Box::new(Variant::surrogate())
}

/// `r` where `r <= 0.5`, else `1 - r`: continuous, and the surrogate is its true gradient.
pub(crate) fn triangle() -> Box<dyn Op> {
    Box::new(Variant::triangle())
}
