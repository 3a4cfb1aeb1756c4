//! Operands in host memory: what a caller gives, and what the engines see of it.

use half::{bf16, f16};

use super::{
    check::Given,
    slice::{Slice, SliceMut},
};
use crate::{
    dtype::{DType, Element},
    shape::Layout,
};

/// A slice that a call reads: f32, f16 or bf16 with one axis, or the words of a mask.
///
/// References to slices, arrays and vectors turn into it. [`layout`](View::layout) gives it another layout.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub(crate) data: Slice<'a>,
    layout: Option<Layout>,
    /// Whether the layout is the shape of all elements.
    whole: bool,
}

impl<'a> View<'a> {
    pub(crate) fn of(data: Slice<'a>) -> Self {
        Self { data, layout: None, whole: false }
    }

    /// How the elements lie in the slice: a shape, and any strides.
    #[must_use]
    pub fn layout(self, layout: Layout) -> Self {
        Self { layout: Some(layout), whole: false, ..self }
    }

    /// The shape of all elements, which are contiguous.
    #[must_use]
    pub fn shape(self, shape: &[u64]) -> Self {
        Self { layout: Some(Layout::contiguous(shape)), whole: true, ..self }
    }

    pub(crate) fn given(&self) -> Given {
        Given {
            len: Some(self.data.len() as u64),
            layout: self.layout.clone(),
            whole: self.whole,
            accumulate: false,
        }
    }
}

impl<'a, E: Element> From<&'a [E]> for View<'a> {
    fn from(data: &'a [E]) -> Self {
        Self::of(Slice::new(data))
    }
}

impl<'a, E: Element, const N: usize> From<&'a [E; N]> for View<'a> {
    fn from(data: &'a [E; N]) -> Self {
        data.as_slice().into()
    }
}

impl<'a, E: Element> From<&'a Vec<E>> for View<'a> {
    fn from(data: &'a Vec<E>) -> Self {
        data.as_slice().into()
    }
}

impl<'a> From<&'a [u32]> for View<'a> {
    fn from(words: &'a [u32]) -> Self {
        Self::of(Slice::Bits(words))
    }
}

impl<'a> From<&'a Vec<u32>> for View<'a> {
    fn from(words: &'a Vec<u32>) -> Self {
        words.as_slice().into()
    }
}

/// Where an output goes: a slice of the right length, or a vector that gets it.
///
/// Mutable references to slices, arrays and vectors turn into it.
#[derive(Debug)]
pub struct Output<'a> {
    target: Target<'a>,
    accumulate: bool,
}

#[derive(Debug)]
enum Target<'a> {
    Slice(SliceMut<'a>),
    Vec(VecMut<'a>),
}

#[derive(Debug)]
enum VecMut<'a> {
    F32(&'a mut Vec<f32>),
    F16(&'a mut Vec<f16>),
    Bf16(&'a mut Vec<bf16>),
    Bits(&'a mut Vec<u32>),
}

impl<'a> Output<'a> {
    pub(crate) fn of(slice: SliceMut<'a>) -> Self {
        Self { target: Target::Slice(slice), accumulate: false }
    }

    /// A gradient is added to what is there, which has the right length, instead of replacing it.
    ///
    /// Where a call fails on its way, some may be added and some not: a slice is then to be given up, and a vector is
    /// emptied. A GPU that is lost is no such failure for a [`Runner`](crate::Runner) that falls back to the CPU.
    #[must_use]
    pub fn accumulate(self) -> Self {
        Self { accumulate: true, ..self }
    }

    pub(crate) fn given(&self) -> Given {
        let len = match &self.target {
            Target::Slice(slice) => Some(slice.len()),
            Target::Vec(vec) => self.accumulate.then(|| vec.len()),
        };
        Given { len: len.map(|len| len as u64), accumulate: self.accumulate, ..Given::default() }
    }

    pub(crate) fn kind(&self) -> Option<DType> {
        match &self.target {
            Target::Slice(slice) => slice.dtype(),
            Target::Vec(VecMut::F32(_)) => Some(DType::F32),
            Target::Vec(VecMut::F16(_)) => Some(DType::F16),
            Target::Vec(VecMut::Bf16(_)) => Some(DType::Bf16),
            Target::Vec(VecMut::Bits(_)) => None,
        }
    }

    /// Whether there is memory for so many elements, or words of a mask.
    pub(crate) fn reserve(&mut self, len: u64) -> bool {
        fn reserved<T>(vec: &mut Vec<T>, len: usize) -> bool {
            vec.try_reserve(len.saturating_sub(vec.len())).is_ok()
        }
        let Ok(len) = usize::try_from(len) else { return false };
        match &mut self.target {
            Target::Slice(_) => true,
            Target::Vec(VecMut::F32(vec)) => reserved(vec, len),
            Target::Vec(VecMut::F16(vec)) => reserved(vec, len),
            Target::Vec(VecMut::Bf16(vec)) => reserved(vec, len),
            Target::Vec(VecMut::Bits(vec)) => reserved(vec, len),
        }
    }

    /// The slice, which a vector gets.
    pub(crate) fn slice(&mut self, len: usize) -> SliceMut<'_> {
        match &mut self.target {
            Target::Slice(slice) => slice.part(0, slice.len()),
            Target::Vec(VecMut::F32(vec)) => SliceMut::new(resized(vec, len)),
            Target::Vec(VecMut::F16(vec)) => SliceMut::new(resized(vec, len)),
            Target::Vec(VecMut::Bf16(vec)) => SliceMut::new(resized(vec, len)),
            Target::Vec(VecMut::Bits(vec)) => SliceMut::Bits(resized(vec, len)),
        }
    }

    /// Empties a vector.
    pub(crate) fn discard(&mut self) {
        match &mut self.target {
            Target::Slice(_) => {}
            Target::Vec(VecMut::F32(vec)) => vec.clear(),
            Target::Vec(VecMut::F16(vec)) => vec.clear(),
            Target::Vec(VecMut::Bf16(vec)) => vec.clear(),
            Target::Vec(VecMut::Bits(vec)) => vec.clear(),
        }
    }
}

fn resized<T: bytemuck::Zeroable + Copy>(vec: &mut Vec<T>, len: usize) -> &mut [T] {
    vec.resize(len, T::zeroed());
    vec
}

impl VecMut<'_> {
    fn len(&self) -> usize {
        match self {
            VecMut::F32(vec) => vec.len(),
            VecMut::F16(vec) => vec.len(),
            VecMut::Bf16(vec) => vec.len(),
            VecMut::Bits(vec) => vec.len(),
        }
    }
}

impl<'a, E: Element> From<&'a mut [E]> for Output<'a> {
    fn from(slice: &'a mut [E]) -> Self {
        Self { target: Target::Slice(SliceMut::new(slice)), accumulate: false }
    }
}

impl<'a, E: Element, const N: usize> From<&'a mut [E; N]> for Output<'a> {
    fn from(array: &'a mut [E; N]) -> Self {
        array.as_mut_slice().into()
    }
}

impl<'a> From<&'a mut [u32]> for Output<'a> {
    fn from(words: &'a mut [u32]) -> Self {
        Self { target: Target::Slice(SliceMut::Bits(words)), accumulate: false }
    }
}

macro_rules! vectors {
    ($($variant:ident: $ty:ty),*) => {$(
        impl<'a> From<&'a mut Vec<$ty>> for Output<'a> {
            fn from(vec: &'a mut Vec<$ty>) -> Self {
                Self { target: Target::Vec(VecMut::$variant(vec)), accumulate: false }
            }
        }
    )*};
}

vectors!(F32: f32, F16: f16, Bf16: bf16, Bits: u32);
