//! Where an output of an inexact op may lie.

use crate::dtype::DType;

/// The values that a device may give for an output of one element.
///
/// ```
/// use elemgrad::{DType, Op, check::Enclosure};
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let op = Op::new("root", ["x"], |[x]| x.sqrt())?;
/// let mut outputs = [Enclosure::Exact(0.0); 2];
/// op.enclose(DType::F32, &[2.0, 1.0], &mut outputs);
/// assert!(outputs[0].allows(2_f32.sqrt()) && !outputs[0].allows(1.414));
/// op.enclose(DType::F32, &[-2.0, 1.0], &mut outputs);
/// assert!(outputs[0].allows(f32::NAN) && outputs[1].is_left_out(), "nothing is said of sums and quotients of NaN");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Enclosure {
    /// Exactly these bits.
    Exact(f32),
    /// A number from the first to the second, both included. A zero may have either sign.
    Within(f64, f64),
    /// Nothing is guaranteed.
    LeftOut(Reason),
}

/// Why nothing is guaranteed for an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A comparison or a rounding to an integer could go either way.
    Jump,
    /// An operand or a result is, or may be, NaN or infinite.
    NotFinite,
    /// An operand is where the building block has no bound: a divisor near 0, a logarithm of a number that is not
    /// positive.
    NoBound,
}

impl Enclosure {
    /// Whether a device may give this value. [`Exact`](Enclosure::Exact) compares bits.
    pub fn allows(self, value: f32) -> bool {
        match self {
            Self::Exact(exact) => value.to_bits() == exact.to_bits(),
            Self::Within(low, high) => (low..=high).contains(&f64::from(value)),
            Self::LeftOut(_) => true,
        }
    }

    /// Whether nothing is guaranteed.
    pub fn is_left_out(self) -> bool {
        matches!(self, Self::LeftOut(_))
    }

    /// Where the value may lie after it is rounded to a storage type. Rounding keeps the order.
    #[must_use]
    pub fn rounded(self, storage: DType) -> Self {
        let round = |value: f32| storage.widen(storage.round(value));
        match self {
            Self::Exact(value) => Self::Exact(round(value)),
            Self::Within(low, high) if storage != DType::F32 => {
                Self::Within(round(below(low)).into(), round(above(high)).into())
            }
            _ => self,
        }
    }
}

impl std::fmt::Display for Enclosure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Exact(value) => write!(f, "{value:e}"),
            Self::Within(low, high) => write!(f, "{low:e} to {high:e}"),
            Self::LeftOut(Reason::Jump) => f.write_str("anything: at a jump"),
            Self::LeftOut(Reason::NotFinite) => f.write_str("anything: of NaN, infinity or what overflows"),
            Self::LeftOut(Reason::NoBound) => f.write_str("anything: where there is no bound"),
        }
    }
}

/// The greatest f32 not above `v`.
pub(crate) fn below(v: f64) -> f32 {
    let near = v as f32;
    if f64::from(near) > v { near.next_down() } else { near }
}

/// The least f32 not below `v`.
pub(crate) fn above(v: f64) -> f32 {
    -below(-v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_the_order() {
        let tie = 1.0 + 1.0 / 256.0;
        let around = Enclosure::Within(tie - 1e-9, tie + 1e-9);
        assert_eq!(around.rounded(DType::F32), around);
        assert_eq!(around.rounded(DType::Bf16), Enclosure::Within(1.0, 1.0 + 1.0 / 128.0));
        let large = Enclosure::Within(65519.0, 65520.0).rounded(DType::F16);
        assert_eq!(large, Enclosure::Within(65504.0, f64::INFINITY));
        assert!(large.allows(f32::INFINITY) && !large.allows(65472.0));
        let nan = f32::from_bits(0x7fc1_2345);
        assert!(Enclosure::Exact(nan).rounded(DType::F32).allows(nan));
    }

    #[test]
    fn bits_count_where_they_are_said() {
        assert!(!Enclosure::Exact(0.0).allows(-0.0));
        assert!(Enclosure::Within(0.0, 0.0).allows(-0.0));
        assert!(!Enclosure::Within(-1.0, 1.0).allows(f32::NAN));
        assert!(Enclosure::LeftOut(Reason::Jump).allows(f32::NAN));
    }

    #[test]
    fn neighbours() {
        for v in [1.0, 1.5, -3.0, 0.0] {
            assert_eq!([below(v), above(v)].map(f64::from), [v, v]);
        }
        assert_eq!([below(0.1), above(0.1)], [0.1_f32.next_down(), 0.1]);
        assert_eq!([below(-0.1), above(-0.1)], [-0.1, (-0.1_f32).next_up()]);
    }
}
