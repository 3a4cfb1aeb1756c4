//! How an output is stored. This is the only place that defines adding and gating.

use crate::numeric::sum;

/// What is stored for an output, given the old value and whether the mask is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Store {
    /// The value.
    Set,
    /// The old value plus the value.
    Add,
    /// The value where the mask, the output of this number, is 1; else `+0`.
    SetWhere(usize),
    /// The old value plus the value where the mask is 1; else the old value, bit for bit.
    AddWhere(usize),
}

impl Store {
    /// The way to store. `gate` is the number of the output that is the mask.
    pub(crate) fn new(gate: Option<usize>, accumulate: bool) -> Self {
        match (gate, accumulate) {
            (None, false) => Self::Set,
            (None, true) => Self::Add,
            (Some(mask), false) => Self::SetWhere(mask),
            (Some(mask), true) => Self::AddWhere(mask),
        }
    }

    /// Whether the old value is used.
    pub(crate) fn adds(self) -> bool {
        matches!(self, Self::Add | Self::AddWhere(_))
    }

    /// The mask that storing needs besides the value. Where its mask is 0, an op itself gives `+0`.
    pub(crate) fn gate(self) -> Option<usize> {
        match self {
            Self::AddWhere(mask) => Some(mask),
            Self::Set | Self::Add | Self::SetWhere(_) => None,
        }
    }

    /// The value to store.
    #[inline(always)]
    pub(crate) fn stored(self, old: f32, value: f32, passes: bool) -> f32 {
        match self {
            Self::Set => value,
            Self::Add => sum(old, value),
            Self::SetWhere(_) => {
                if passes {
                    value
                } else {
                    0.0
                }
            }
            Self::AddWhere(_) => {
                if passes {
                    sum(old, value)
                } else {
                    old
                }
            }
        }
    }

    /// [`stored`](Store::stored) as WGSL text.
    pub(crate) fn wgsl(self, old: &str, value: &str, mask: &str) -> String {
        match self {
            Self::Set => value.to_owned(),
            Self::Add => format!("f32_add({old}, {value})"),
            Self::SetWhere(_) => format!("select(0u, {value}, {mask})"),
            Self::AddWhere(_) => format!("select({old}, f32_add({old}, {value}), {mask})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_ways_to_store() {
        let old = f32::from_bits(0xffed_cba9);
        let bits = |store: Store, old: f32, passes| store.stored(old, 2.0, passes).to_bits();
        assert_eq!(bits(Store::new(None, false), old, false), 2.0_f32.to_bits());
        assert_eq!(bits(Store::new(None, true), 1.0, false), 3.0_f32.to_bits());
        assert_eq!(bits(Store::new(Some(2), false), old, false), 0);
        assert_eq!(bits(Store::new(Some(2), false), old, true), 2.0_f32.to_bits());
        assert_eq!(bits(Store::new(Some(2), true), 1.0, true), 3.0_f32.to_bits());
        assert_eq!(bits(Store::new(Some(2), true), old, false), old.to_bits(), "a NaN keeps its payload");
    }
}
