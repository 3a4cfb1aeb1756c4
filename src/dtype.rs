//! The types that storage holds, and their exact conversions from and to f32.

use std::str::FromStr;

use half::{bf16, f16};

use crate::error::Error;

/// The type of an operand's elements in memory. Everything is computed in f32, or as if it were.
///
/// ```
/// use elemgrad::DType;
///
/// let f16: DType = "f16".parse()?;
/// assert_eq!((f16.name(), f16.size()), ("f16", 2));
/// assert_eq!(f16.round(0.1), 0x2e66);
/// assert_eq!(f16.widen(0x2e66), 0.099975586);
/// assert_eq!(f16.round(65520.0), 0x7c00, "halfway to 2^16 is infinity");
/// assert_eq!(DType::Bf16.round(f32::from_bits(1 << 15)), 0, "a tie goes to the even one");
/// # Ok::<(), elemgrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE's binary32.
    #[default]
    F32,
    /// IEEE's binary16: 5 bits of exponent, 10 of fraction.
    F16,
    /// The upper half of an f32: 8 bits of exponent, 7 of fraction.
    Bf16,
}

impl DType {
    /// All types.
    pub const ALL: &'static [DType] = &Self::EACH;

    /// [`DType::ALL`], as an array.
    pub(crate) const EACH: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

    /// The name: `f32`, `f16`, `bf16`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The size of an element in bytes.
    pub const fn size(self) -> u64 {
        self.row().size
    }

    /// The f32 equal to the element with these bits. The bits of a 2-byte type are in the low half. A NaN keeps its
    /// sign and payload, and a signalling NaN stays signalling.
    #[inline]
    pub fn widen(self, bits: u32) -> f32 {
        match self {
            DType::F32 => f32::from_bits(bits),
            DType::F16 => widen_f16(bits),
            DType::Bf16 => f32::from_bits(bits << 16),
        }
    }

    /// The bits of the element nearest to `value`, ties to even. The bits of a 2-byte type are in the low half. A
    /// value that is too large gives infinity. A small value gives a subnormal number, or a zero with the sign of
    /// `value`.
    ///
    /// A NaN keeps its sign and the top of its payload. If those payload bits are all 0, the payload becomes 1. So
    /// rounding a [widened](Self::widen) element gives back the same bits, whatever they are.
    #[inline]
    pub fn round(self, value: f32) -> u32 {
        match self {
            DType::F32 => value.to_bits(),
            DType::F16 => round_f16(value),
            DType::Bf16 => round_bf16(value),
        }
    }

    /// The other properties of the type.
    pub(crate) const fn row(self) -> &'static Row {
        match self {
            DType::F32 => &F32,
            DType::F16 => &F16,
            DType::Bf16 => &BF16,
        }
    }
}

/// One storage type.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) size: u64,
    /// The exponents of the least and the greatest number.
    pub(crate) exponents: (i32, i32),
    /// The bits that can be set in a subnormal number.
    pub(crate) subnormal: u32,
    /// The WGSL that widens what a kernel loads and rounds what it stores.
    pub(crate) wgsl: &'static str,
}

const F32: Row = Row {
    name: "f32",
    size: 4,
    exponents: (-149, 128),
    subnormal: 0x807f_ffff,
    wgsl: include_str!("../shaders/storage/f32.wgsl"),
};

const F16: Row = Row {
    name: "f16",
    size: 2,
    exponents: (-24, 16),
    subnormal: 0x83ff,
    wgsl: include_str!("../shaders/storage/f16.wgsl"),
};

const BF16: Row = Row {
    name: "bf16",
    size: 2,
    exponents: (-133, 128),
    subnormal: 0x807f,
    wgsl: include_str!("../shaders/storage/bf16.wgsl"),
};

const SIGN: u32 = 0x8000_0000;
const F32_INF: u32 = 0x7f80_0000;
const F16_INF: u32 = 0x7c00;
/// The least normal number.
const F16_NORMAL: u32 = 0x0400;
/// The least number, 2^-24.
const F16_UNIT: f32 = f32::from_bits((127 - 24) << 23);
/// By how many bits an f32's fraction is longer than an f16's.
const F16_SHIFT: u32 = 23 - 10;
/// By how much an f32's exponent field is larger for the same exponent.
const F16_REBIAS: u32 = (127 - 15) << 23;

#[inline]
fn widen_f16(bits: u32) -> f32 {
    let (sign, magnitude) = (bits << 16 & SIGN, bits & 0x7fff);
    let wide = match magnitude {
        0..F16_NORMAL => (magnitude as f32 * F16_UNIT).to_bits(),
        F16_NORMAL..F16_INF => (magnitude << F16_SHIFT) + F16_REBIAS,
        _ => magnitude << F16_SHIFT | F32_INF,
    };
    f32::from_bits(sign | wide)
}

#[inline]
fn round_f16(value: f32) -> u32 {
    const LEAST_NORMAL: u32 = (127 - 14) << 23;
    let sign = (value.to_bits() & SIGN) >> 16;
    let bits = value.to_bits() & !SIGN;
    if value.is_nan() {
        return sign | F16_INF | (bits >> F16_SHIFT & 0x3ff).max(1);
    }
    if bits < LEAST_NORMAL {
        // The last place of the sum is that of f16's subnormal numbers.
        return sign | ((f32::from_bits(bits) + 0.5).to_bits() - 0.5_f32.to_bits());
    }
    let odd = bits >> F16_SHIFT & 1;
    let rounded = (bits - F16_REBIAS + ((1 << (F16_SHIFT - 1)) - 1) + odd) >> F16_SHIFT;
    sign | rounded.min(F16_INF)
}

#[inline]
fn round_bf16(value: f32) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() {
        return bits >> 16 | u32::from(bits & 0x007f_0000 == 0);
    }
    // A carry out of the fraction goes into the exponent, and turns the greatest number into infinity.
    (bits + 0x7fff + (bits >> 16 & 1)) >> 16
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::EACH.into_iter().find(|dtype| dtype.name() == name);
        found.ok_or_else(|| Error::NoDType { wanted: name.into() })
    }
}

/// A Rust type with a [`DType`]: `f32`, [`half::f16`] or [`half::bf16`].
pub trait Element: sealed::Sealed + bytemuck::Pod + Send + Sync {
    /// The type in memory.
    const DTYPE: DType;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($ty:ty: $dtype:ident),*) => {$(
        impl sealed::Sealed for $ty {}

        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}

elements!(f32: F32, f16: F16, bf16: Bf16);

#[cfg(test)]
mod tests {
    use super::{DType, Element, Error, F32_INF, SIGN, bf16, f16};

    const HALVES: [DType; 2] = [DType::F16, DType::Bf16];

    /// The result of the crate `half`, for values other than NaN.
    fn half_round(dtype: DType, value: f32) -> u32 {
        match dtype {
            DType::F32 => value.to_bits(),
            DType::F16 => f16::from_f32(value).to_bits().into(),
            DType::Bf16 => bf16::from_f32(value).to_bits().into(),
        }
    }

    fn half_widen(dtype: DType, bits: u32) -> f32 {
        match dtype {
            DType::F32 => f32::from_bits(bits),
            DType::F16 => f16::from_bits(bits as u16).to_f32(),
            DType::Bf16 => bf16::from_bits(bits as u16).to_f32(),
        }
    }

    #[test]
    fn every_element_survives_widening_and_rounding() {
        for dtype in HALVES {
            for bits in 0..=0xffff {
                let wide = dtype.widen(bits);
                assert_eq!(dtype.round(wide), bits, "{dtype:?} {bits:04x}");
                if !wide.is_nan() {
                    assert_eq!(wide.to_bits(), half_widen(dtype, bits).to_bits(), "{dtype:?} {bits:04x}");
                }
            }
        }
        for bits in [0, SIGN, 1, F32_INF, F32_INF | 1, 0x7fc0_0000, u32::MAX] {
            assert_eq!(DType::F32.round(DType::F32.widen(bits)), bits);
        }
    }

    #[test]
    fn rounding_agrees_with_half() {
        let check = |dtype: DType, bits| {
            let value = f32::from_bits(bits);
            if !value.is_nan() {
                assert_eq!(dtype.round(value), half_round(dtype, value), "{dtype:?} {bits:08x}");
            }
        };
        for dtype in HALVES {
            // Around every number, and around every tie: halfway to the next.
            for bits in 0..=0xffff {
                let [here, next] = [bits, bits + 1].map(|bits| dtype.widen(bits));
                for near in -2..=2 {
                    check(dtype, here.to_bits().wrapping_add_signed(near));
                    check(dtype, here.midpoint(next).to_bits().wrapping_add_signed(near));
                }
            }
            // Around the limit to infinity, halfway to the power of two that would come next.
            for near in -2..=2 {
                check(dtype, 65520_f32.to_bits().wrapping_add_signed(near));
                check(dtype, 0x7f7f_8000_u32.wrapping_add_signed(near));
            }
            for i in 0..1 << 22 {
                check(dtype, i * 1021);
            }
        }
    }

    #[test]
    fn a_nan_stays_one() {
        for (dtype, infinity, last) in [(DType::F16, 0x7c00, 0x7fff), (DType::Bf16, 0x7f80, 0x7fff)] {
            let round = |bits| dtype.round(f32::from_bits(bits));
            assert_eq!(round(F32_INF), infinity);
            assert_eq!(round(F32_INF | 1), infinity | 1);
            assert_eq!(round(F32_INF | 1 | SIGN), infinity | 1 | 0x8000);
            assert_eq!(round(0x7fff_ffff), last);
        }
        assert_eq!(DType::F16.round(f32::from_bits(0x7fc0_0000)), 0x7e00);
        assert_eq!(DType::Bf16.round(f32::from_bits(0x7fc0_0000)), 0x7fc0);
    }

    #[test]
    fn names_and_sizes() {
        fn is<E: Element>(name: &str) {
            assert_eq!(E::DTYPE.name(), name);
            assert_eq!(name.parse(), Ok(E::DTYPE));
            assert_eq!(E::DTYPE.size(), size_of::<E>() as u64);
        }
        is::<f32>("f32");
        is::<f16>("f16");
        is::<bf16>("bf16");
        assert_eq!("F32".parse::<DType>(), Err(Error::NoDType { wanted: "F32".into() }));
    }
}
