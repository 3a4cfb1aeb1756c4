//! The engines' view of operands in host memory.

use std::ops::Range;

use crate::{
    dtype::{DType, Element},
    signature::gate::Store,
};

/// Elements of one operand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slice<'a> {
    F32(&'a [f32]),
    /// Elements of a 2-byte type.
    Half(DType, &'a [u16]),
    Bits(&'a [u32]),
}

impl<'a> Slice<'a> {
    pub(crate) fn new<E: Element>(data: &'a [E]) -> Self {
        match E::DTYPE {
            DType::F32 => Self::F32(bytemuck::cast_slice(data)),
            dtype => Self::Half(dtype, bytemuck::cast_slice(data)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Slice::F32(s) => s.len(),
            Slice::Half(_, s) => s.len(),
            Slice::Bits(s) => s.len(),
        }
    }

    /// The storage type; `None` for a mask.
    pub(crate) fn dtype(&self) -> Option<DType> {
        match self {
            Slice::F32(_) => Some(DType::F32),
            Slice::Half(dtype, _) => Some(*dtype),
            Slice::Bits(_) => None,
        }
    }

    /// One element. For a mask, 1 or 0.
    pub(crate) fn get(&self, i: usize) -> f32 {
        match self {
            Slice::F32(s) => s[i],
            Slice::Half(dtype, s) => dtype.widen(s[i].into()),
            Slice::Bits(s) => ((s[i / 32] >> (i % 32)) & 1) as f32,
        }
    }

    /// A range of the elements, or of the words of a mask.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        match self {
            Slice::F32(s) => Slice::F32(&s[range]),
            Slice::Half(dtype, s) => Slice::Half(*dtype, &s[range]),
            Slice::Bits(s) => Slice::Bits(&s[range]),
        }
    }

    /// A range of the elements. For a mask, the range must start at the start of a word.
    pub(crate) fn elements(&self, range: Range<usize>) -> Self {
        self.part(if matches!(self, Slice::Bits(_)) {
            range.start / 32..range.end.div_ceil(32)
        } else {
            range
        })
    }

    /// Whether it is one number for all of `len` elements.
    pub(crate) fn is_one_for_all(&self, len: usize) -> bool {
        len > 1 && self.len() == 1 && self.dtype().is_some()
    }

    /// [`elements`](Slice::elements) of `len` elements. The slice may also be one number for all of them.
    pub(crate) fn elements_of(&self, len: usize, range: Range<usize>) -> Self {
        if self.is_one_for_all(len) { *self } else { self.elements(range) }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Slice::F32(s) => bytemuck::cast_slice(s),
            Slice::Half(_, s) => bytemuck::cast_slice(s),
            Slice::Bits(s) => bytemuck::cast_slice(s),
        }
    }
}

/// Elements of one output.
#[derive(Debug)]
pub(crate) enum SliceMut<'a> {
    F32(&'a mut [f32]),
    /// Elements of a 2-byte type.
    Half(DType, &'a mut [u16]),
    Bits(&'a mut [u32]),
}

impl<'a> SliceMut<'a> {
    pub(crate) fn new<E: Element>(data: &'a mut [E]) -> Self {
        match E::DTYPE {
            DType::F32 => Self::F32(bytemuck::cast_slice_mut(data)),
            dtype => Self::Half(dtype, bytemuck::cast_slice_mut(data)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shared().len()
    }

    pub(crate) fn dtype(&self) -> Option<DType> {
        self.shared().dtype()
    }

    /// The slice for reading.
    pub(crate) fn shared(&self) -> Slice<'_> {
        match self {
            SliceMut::F32(s) => Slice::F32(s),
            SliceMut::Half(dtype, s) => Slice::Half(*dtype, s),
            SliceMut::Bits(s) => Slice::Bits(s),
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match self {
            SliceMut::F32(s) => bytemuck::cast_slice_mut(s),
            SliceMut::Half(_, s) => bytemuck::cast_slice_mut(s),
            SliceMut::Bits(s) => bytemuck::cast_slice_mut(s),
        }
    }

    /// A range of the elements, or of the words of a mask.
    pub(crate) fn part(&mut self, start: usize, end: usize) -> SliceMut<'_> {
        match self {
            SliceMut::F32(s) => SliceMut::F32(&mut s[start..end]),
            SliceMut::Half(dtype, s) => SliceMut::Half(*dtype, &mut s[start..end]),
            SliceMut::Bits(s) => SliceMut::Bits(&mut s[start..end]),
        }
    }

    /// The elements from `start` on. For a mask, `start` must be the start of a word.
    pub(crate) fn from(&mut self, start: usize) -> SliceMut<'_> {
        let (start, end) =
            if matches!(self, SliceMut::Bits(_)) { (start / 32, self.len()) } else { (start, self.len()) };
        self.part(start.min(end), end)
    }

    /// The elements after the first `len`.
    #[cfg(test)]
    pub(crate) fn behind(mut self, len: usize) -> Self {
        self.cut(len);
        self
    }

    /// Cuts off the first `len` elements. For a mask, `len` is a multiple of 32, or the whole length.
    pub(crate) fn cut(&mut self, len: usize) -> SliceMut<'a> {
        fn next<'a, T>(slice: &mut &'a mut [T], len: usize) -> &'a mut [T] {
            slice.split_off_mut(..len).unwrap_or_default()
        }
        match self {
            SliceMut::F32(s) => SliceMut::F32(next(s, len)),
            SliceMut::Half(dtype, s) => SliceMut::Half(*dtype, next(s, len)),
            SliceMut::Bits(s) => SliceMut::Bits(next(s, len.div_ceil(32))),
        }
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.shared().bytes().len()
    }

    /// Stores one element by the rule `store`. `passes` says whether the mask is 1 there.
    pub(crate) fn store(&mut self, i: usize, store: Store, value: f32, passes: bool) {
        let old = if store.adds() { self.shared().get(i) } else { 0.0 };
        self.set(i, store.stored(old, value, passes));
    }

    /// Stores one element. For a mask, sets its bit and clears the later bits of its word.
    pub(crate) fn set(&mut self, i: usize, value: f32) {
        match self {
            SliceMut::F32(s) => s[i] = value,
            SliceMut::Half(dtype, s) => s[i] = dtype.round(value) as u16,
            SliceMut::Bits(s) => {
                let (word, bit) = (&mut s[i / 32], i % 32);
                *word = *word & ((1 << bit) - 1) | u32::from(value != 0.0) << bit;
            }
        }
    }
}
