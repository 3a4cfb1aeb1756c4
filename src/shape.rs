//! Shapes, strides and broadcasting by NumPy's rules.

use smallvec::SmallVec;

/// One value for each axis. Few shapes have more than four axes.
pub(crate) type Axes<T> = SmallVec<[T; 4]>;

/// How the elements of an operand are placed in its range: a shape, and for each axis the step to the next element.
///
/// As in NumPy, strides may be zero (a broadcast axis) or negative (a reversed axis). They count elements, not bytes.
///
/// ```
/// use elemgrad::Layout;
///
/// let rows = Layout::contiguous(&[2, 3]);
/// assert_eq!(rows.strides(), [3, 1]);
/// let columns = rows.transposed();
/// assert_eq!((columns.shape(), columns.strides()), (&[3, 2][..], &[1, 3][..]));
/// // Every second element, starting at the last.
/// let backwards = Layout::strided(&[5], &[-2], 8);
/// assert_eq!(backwards.extent(), Some((0, 8)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    shape: Axes<u64>,
    strides: Axes<i64>,
    offset: u64,
}

impl Layout {
    /// A row-major layout without gaps: the last axis varies fastest.
    pub fn contiguous(shape: &[u64]) -> Self {
        Self { shape: shape.into(), strides: contiguous_strides(shape), offset: 0 }
    }

    /// A layout with any strides. `offset` is the position in the range of the element with index (0, 0, ..).
    ///
    /// Give one stride for each axis. The call that uses the layout checks it, including the number of strides.
    pub fn strided(shape: &[u64], strides: &[i64], offset: u64) -> Self {
        Self { shape: shape.into(), strides: strides.into(), offset }
    }

    /// The same layout with its axes in reverse order.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self {
            shape: self.shape.iter().rev().copied().collect(),
            strides: self.strides.iter().rev().copied().collect(),
            offset: self.offset,
        }
    }

    /// The shape.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The strides, in elements.
    pub fn strides(&self) -> &[i64] {
        &self.strides
    }

    /// The position of the element with index (0, 0, ..).
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of elements, or `None` above `u64::MAX`.
    pub fn len(&self) -> Option<u64> {
        count(&self.shape)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The least and the greatest position that the layout reaches. `None` if it has no elements, reaches beyond what
    /// a range can hold, or does not have one stride for each axis.
    pub fn extent(&self) -> Option<(u64, u64)> {
        if self.is_empty() || self.shape.len() != self.strides.len() {
            return None;
        }
        extent(&self.shape, &self.strides, self.offset.try_into().ok()?)
            .and_then(|(low, high)| Some((low.try_into().ok()?, high.try_into().ok()?)))
    }
}

/// The position of the element with a row-major index, counted from that of index 0.
pub(crate) fn step_to(shape: &[u64], strides: &[i64], index: u64) -> i64 {
    let (mut rest, mut step) = (index, 0);
    for (d, s) in shape.iter().zip(strides).skip(1).rev() {
        step += (rest % d) as i64 * s;
        rest /= d;
    }
    step + rest as i64 * strides.first().copied().unwrap_or(0)
}

/// The product of the dimensions.
pub(crate) fn count(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u64, |all, d| all.checked_mul(*d))
}

/// The least and the greatest offset over all indices of a shape with elements.
pub(crate) fn extent(shape: &[u64], strides: &[i64], offset: i64) -> Option<(i64, i64)> {
    shape.iter().zip(strides).try_fold((offset, offset), |(low, high), (d, s)| {
        let reach = i64::try_from(*d).ok()?.checked_sub(1)?.checked_mul(*s)?;
        Some((low.checked_add(reach.min(0))?, high.checked_add(reach.max(0))?))
    })
}

/// The strides of row-major order.
pub(crate) fn contiguous_strides(shape: &[u64]) -> Axes<i64> {
    let mut strides = Axes::from_elem(1_i64, shape.len());
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].wrapping_mul(shape[axis].max(1) as i64);
    }
    strides
}

/// Whether strides are those of row-major order. Axes of one element are ignored. Without elements, any strides are.
pub(crate) fn is_contiguous(shape: &[u64], strides: &[i64]) -> bool {
    let mut step = 1;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().all(|(d, s)| {
            let fits = *d == 1 || *s == step;
            step = step.wrapping_mul(*d as i64);
            fits
        })
}

/// The shape to which two shapes broadcast, or `None` if they do not. They are aligned at the last axis. On each axis
/// the dimensions must be equal, or one of them must be 1.
///
/// ```
/// assert_eq!(elemgrad::broadcast(&[4, 1], &[3]), Some(vec![4, 3]));
/// assert_eq!(elemgrad::broadcast(&[2], &[3]), None);
/// ```
pub fn broadcast(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let rank = a.len().max(b.len());
    (0..rank)
        .map(|axis| match (dimension(a, rank, axis), dimension(b, rank, axis)) {
            (a, b) if a == b => Some(a),
            (1, d) | (d, 1) => Some(d),
            _ => None,
        })
        .collect()
}

/// The dimension of a shape along an axis of a broadcast shape of rank `rank`.
pub(crate) fn dimension(shape: &[u64], rank: usize, axis: usize) -> u64 {
    (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
}

/// Merges axes that every operand crosses as one. There are fewer axes then, with the same elements in the same
/// order.
///
/// `strides` has one list per operand. Axes of one element vanish, but at least one axis remains. Axes whose `class`
/// differs stay apart.
pub(crate) fn collapse(shape: &[u64], strides: &[Vec<i64>], class: &[bool]) -> Collapsed {
    let mut all =
        Collapsed { shape: Vec::new(), strides: vec![Vec::new(); strides.len()], class: Vec::new() };
    for axis in (0..shape.len()).filter(|axis| shape[*axis] != 1) {
        let merges = all.class.last() == Some(&class[axis])
            && all.strides.iter().zip(strides).all(|(merged, strides)| {
                merged
                    .last()
                    .is_some_and(|outer| Some(*outer) == strides[axis].checked_mul(shape[axis] as i64))
            });
        if merges {
            all.shape.last_mut().into_iter().for_each(|d| *d *= shape[axis]);
        } else {
            all.shape.push(shape[axis]);
            all.class.push(class[axis]);
        }
        for (merged, strides) in all.strides.iter_mut().zip(strides) {
            if merges {
                merged.pop();
            }
            merged.push(strides[axis]);
        }
    }
    if all.shape.is_empty() {
        all.shape.push(1);
        all.class.push(false);
        all.strides.iter_mut().for_each(|s| s.push(0));
    }
    all
}

/// The result of [`collapse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collapsed {
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Vec<Vec<i64>>,
    pub(crate) class: Vec<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_numpy_says() {
        type Shape = &'static [u64];
        let cases: [(Shape, Shape, Option<Shape>); 9] = [
            (&[], &[], Some(&[])),
            (&[], &[3], Some(&[3])),
            (&[4, 1], &[3], Some(&[4, 3])),
            (&[2, 3, 4], &[3, 1], Some(&[2, 3, 4])),
            (&[0], &[1], Some(&[0])),
            (&[5, 0], &[5, 1], Some(&[5, 0])),
            (&[0], &[3], None),
            (&[2], &[3], None),
            (&[2, 3], &[2], None),
        ];
        for (a, b, expected) in cases {
            assert_eq!(broadcast(a, b).as_deref(), expected, "{a:?} {b:?}");
            assert_eq!(broadcast(b, a).as_deref(), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn axes_collapse_where_all_operands_cross_them_as_one() {
        let rows = contiguous_strides(&[2, 3, 4]).to_vec();
        let all = |strides: &[Vec<i64>], class: &[bool]| collapse(&[2, 3, 4], strides, class).shape;
        let same = [false; 3];
        assert_eq!(all(&[rows.clone(), rows.clone()], &same), [24]);
        assert_eq!(all(&[rows.clone(), vec![0, 0, 1]], &same), [6, 4]);
        assert_eq!(all(&[rows.clone(), vec![0, 1, 0]], &same), [2, 3, 4]);
        assert_eq!(all(&[rows.clone(), vec![4, 0, 1]], &same), [2, 3, 4]);
        assert_eq!(all(&[rows.clone(), vec![0, 0, 0]], &same), [24]);
        assert_eq!(all(&[rows], &[true, false, false]), [2, 12]);
        assert_eq!(collapse(&[1, 1], &[vec![7, 9]], &[false; 2]).shape, [1]);
    }

    #[test]
    fn extents_reach_both_ways() {
        assert_eq!(Layout::strided(&[2, 3], &[-3, 1], 3).extent(), Some((0, 5)));
        assert_eq!(Layout::strided(&[2], &[-1], 0).extent(), None, "before the range");
        assert_eq!(Layout::strided(&[0, 9], &[1, 1], 0).extent(), None);
        assert_eq!(Layout::strided(&[u64::MAX], &[2], 0).extent(), None);
        assert_eq!(Layout::contiguous(&[]).extent(), Some((0, 0)));
        assert_eq!(Layout::strided(&[4, 4], &[1], 0).extent(), None, "a stride is missing");
    }
}
