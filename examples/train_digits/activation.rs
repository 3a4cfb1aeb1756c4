//! The activations: `spiky`, `spiky` with a surrogate gradient, and an activation without jumps.
//!
//! `spiky` is periodic, so its mean slope is 0: it rises by a half in one half of the period, and falls by a half in
//! the jump. Its gradient is 1 where it rises and 0 elsewhere. This gradient cannot see the jump: on the whole, it
//! says that a larger input gives a larger output.

use elemgrad::{Error, Expr, Op};

/// `r` if `r = x mod 1 <= 0.5`, else 0. Its gradient is `dz` if `r <= 0.5`, else 0.
pub(crate) fn spiky() -> Result<Op, Error> {
    Op::new("spiky", ["x"], |[x]| {
        let r = phase(x);
        r.le(0.5).select(r, 0.0)
    })
}

/// `spiky` with the gradient of the triangle. The fall by a half is spread evenly over the half of the period that
/// starts with the jump, so the mean is 0 again.
pub(crate) fn spiky_with_surrogate() -> Result<Op, Error> {
    spiky()?.with_gradient("x", |[x], _, dz| phase(x).le(0.5).select(dz, -dz))
}

/// `r` if `r <= 0.5`, else `1 - r`: continuous.
pub(crate) fn triangle() -> Result<Op, Error> {
    Op::new("triangle", ["x"], |[x]| {
        let r = phase(x);
        r.le(0.5).select(r, 1.0 - r)
    })
}

/// `x mod 1`.
fn phase(x: Expr) -> Expr {
    x.floor_mod(1.0).round_to_storage()
}
