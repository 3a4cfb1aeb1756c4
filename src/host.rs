//! Operands in host memory: what a caller gives, and what the engines see of it.

use std::ops::Range;

use half::{bf16, f16};
use rayon::prelude::*;

use crate::{DType, Element, Layout, op::Given};

/// A slice that a call reads: f32, f16 or bf16 with one axis, or the words of a mask.
///
/// References to slices, arrays and vectors turn into it. [`with`](View::with) gives it another layout.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub(crate) data: Slice<'a>,
    layout: Option<Layout>,
}

impl View<'_> {
    /// How the elements lie in the slice: a shape, and any strides.
    #[must_use]
    pub fn with(self, layout: Layout) -> Self {
        Self { layout: Some(layout), ..self }
    }

    /// The shape of contiguous elements.
    #[must_use]
    pub fn shape(self, shape: &[u64]) -> Self {
        self.with(Layout::contiguous(shape))
    }

    /// The elements, where they have no layout of their own.
    pub(crate) fn slice(&self) -> Option<Slice<'_>> {
        if self.layout.is_none() { Some(self.data) } else { None }
    }

    pub(crate) fn given(&self) -> Given {
        Given { len: Some(self.data.len() as u64), layout: self.layout.clone(), accumulate: false }
    }
}

impl<'a, E: Element> From<&'a [E]> for View<'a> {
    fn from(data: &'a [E]) -> Self {
        Self { data: Slice::new(data), layout: None }
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
        Self { data: Slice::Bits(words), layout: None }
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

impl Output<'_> {
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
        Given { len: len.map(|len| len as u64), layout: None, accumulate: self.accumulate }
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

    /// A slice that is overwritten.
    pub(crate) fn overwritten(&mut self) -> Option<SliceMut<'_>> {
        match &mut self.target {
            Target::Slice(slice) if !self.accumulate => Some(slice.part(0, slice.len())),
            _ => None,
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

/// Elements of one operand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slice<'a> {
    F32(&'a [f32]),
    /// Of a type of 2 bytes.
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

    /// One element; of a mask, 1 or 0.
    pub(crate) fn get(&self, i: usize) -> f32 {
        match self {
            Slice::F32(s) => s[i],
            Slice::Half(dtype, s) => dtype.widen(s[i].into()),
            Slice::Bits(s) => ((s[i / 32] >> (i % 32)) & 1) as f32,
        }
    }

    /// Some of the elements, for a mask words.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        match self {
            Slice::F32(s) => Slice::F32(&s[range]),
            Slice::Half(dtype, s) => Slice::Half(*dtype, &s[range]),
            Slice::Bits(s) => Slice::Bits(&s[range]),
        }
    }

    /// Some of the elements, of a mask from one on that begins a word.
    pub(crate) fn elements(&self, range: Range<usize>) -> Self {
        self.part(if matches!(self, Slice::Bits(_)) {
            range.start / 32..range.end.div_ceil(32)
        } else {
            range
        })
    }

    /// Whether it is one number for all of so many elements.
    pub(crate) fn is_one_for_all(&self, len: usize) -> bool {
        len > 1 && self.len() == 1 && self.dtype().is_some()
    }

    /// [`elements`](Slice::elements) of so many, for all of which it may be one number.
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
    /// Of a type of 2 bytes.
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

    /// As what can be read.
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

    /// Some of the elements, for a mask words.
    pub(crate) fn part(&mut self, start: usize, end: usize) -> SliceMut<'_> {
        match self {
            SliceMut::F32(s) => SliceMut::F32(&mut s[start..end]),
            SliceMut::Half(dtype, s) => SliceMut::Half(*dtype, &mut s[start..end]),
            SliceMut::Bits(s) => SliceMut::Bits(&mut s[start..end]),
        }
    }

    /// From an element on that, for a mask, begins a word.
    pub(crate) fn from(&mut self, start: usize) -> SliceMut<'_> {
        let (start, end) =
            if matches!(self, SliceMut::Bits(_)) { (start / 32, self.len()) } else { (start, self.len()) };
        self.part(start.min(end), end)
    }

    /// The elements behind the first ones.
    #[cfg(test)]
    pub(crate) fn behind(mut self, len: usize) -> Self {
        self.cut(len);
        self
    }

    /// Cuts off the first elements: for a mask a multiple of 32, or all.
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

    /// Stores one element; of a mask, its bit, in a word whose later bits become 0.
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

/// Owned elements of one operand.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    F32(Vec<f32>),
    /// Of a type of 2 bytes.
    Half(DType, Vec<u16>),
    /// A bit for each of so many elements.
    Bits(usize, Vec<u32>),
}

impl Column {
    /// Zeros; without a storage type a mask.
    pub(crate) fn zeros(dtype: Option<DType>, len: usize) -> Self {
        match dtype {
            Some(DType::F32) => Self::F32(vec![0.0; len]),
            Some(dtype) => Self::Half(dtype, vec![0; len]),
            None => Self::Bits(len, vec![0; len.div_ceil(32)]),
        }
    }

    /// Numbers, rounded; for a mask, whether they are not 0.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn of(dtype: Option<DType>, values: &[f32]) -> Self {
        let mut column = Self::zeros(dtype, 0);
        column.set(values);
        column
    }

    /// [`of`](Column::of), in the memory that is there.
    pub(crate) fn set(&mut self, values: &[f32]) {
        match self {
            Column::F32(column) => values.par_iter().copied().collect_into_vec(column),
            // A loop for each type, in which it is known.
            Column::Half(DType::F16, column) => {
                values.par_iter().map(|v| DType::F16.round(*v) as u16).collect_into_vec(column);
            }
            Column::Half(_, column) => {
                values.par_iter().map(|v| DType::Bf16.round(*v) as u16).collect_into_vec(column);
            }
            Column::Bits(len, column) => {
                let word =
                    |bits: &[f32]| bits.iter().rev().fold(0, |word, b| word << 1 | u32::from(*b != 0.0));
                *len = values.len();
                values.par_chunks(32).map(word).collect_into_vec(column);
            }
        }
    }

    /// As many elements as another has, of bit patterns that no output has unless it is written: what a device leaves alone
    /// counts as wrong.
    pub(crate) fn unwrite(&mut self, expected: &Self) {
        match self {
            Column::F32(v) => refill(v, expected.len(), f32::from_bits(0xffed_cba9)),
            Column::Half(DType::F16, v) => refill(v, expected.len(), 0xfeab),
            Column::Half(_, v) => refill(v, expected.len(), 0xffab),
            Column::Bits(len, words) => {
                *len = expected.len();
                words.clear();
                if let Column::Bits(_, expected) = expected {
                    words.extend(expected.iter().map(|word| !word));
                }
            }
        }
    }

    pub(crate) fn slice(&self) -> Slice<'_> {
        match self {
            Column::F32(v) => Slice::F32(v),
            Column::Half(dtype, v) => Slice::Half(*dtype, v),
            Column::Bits(_, words) => Slice::Bits(words),
        }
    }

    pub(crate) fn slice_mut(&mut self) -> SliceMut<'_> {
        match self {
            Column::F32(v) => SliceMut::F32(v),
            Column::Half(dtype, v) => SliceMut::Half(*dtype, v),
            Column::Bits(_, words) => SliceMut::Bits(words),
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { data: self.slice(), layout: None }
    }

    pub(crate) fn output(&mut self) -> Output<'_> {
        Output { target: Target::Slice(self.slice_mut()), accumulate: false }
    }

    /// The elements as f32.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn values(&self) -> Vec<f32> {
        (0..self.len()).into_par_iter().map(|i| self.slice().get(i)).collect()
    }

    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Column::F32(v) => v.len(),
            Column::Half(_, v) => v.len(),
            Column::Bits(len, _) => *len,
        }
    }

    /// The bits of an element, in the low half for a type of 2 bytes.
    pub(crate) fn bits(&self, i: usize) -> u32 {
        match self {
            Column::F32(v) => v[i].to_bits(),
            Column::Half(_, v) => v[i].into(),
            Column::Bits(_, words) => words[i / 32] >> (i % 32) & 1,
        }
    }

    /// The elements that differ in any bit, the unused bits of a mask's last word as its last element: all of them where
    /// the lengths do.
    pub(crate) fn differing(&self, actual: &Self) -> Vec<usize> {
        const BLOCK: usize = 1 << 14;
        let len = self.len();
        if len != actual.len() {
            return (0..len).collect();
        }
        let blocks = (0..len.div_ceil(BLOCK)).into_par_iter();
        let mut differing: Vec<usize> = blocks
            .flat_map_iter(|block| {
                let range = block * BLOCK..len.min((block + 1) * BLOCK);
                let same = match (self, actual) {
                    (Column::F32(a), Column::F32(b)) => {
                        bytemuck::cast_slice::<f32, u32>(&a[range.clone()])
                            == bytemuck::cast_slice::<f32, u32>(&b[range.clone()])
                    }
                    (Column::Half(_, a), Column::Half(_, b)) => a[range.clone()] == b[range.clone()],
                    _ => false,
                };
                let range = if same { 0..0 } else { range };
                range.filter(|i| self.bits(*i) != actual.bits(*i)).collect::<Vec<_>>()
            })
            .collect();
        let unused = |column: &Self| match column {
            Column::Bits(len, words) if len % 32 != 0 => words.last().map(|word| word >> (len % 32)),
            _ => None,
        };
        if unused(self) != unused(actual) && differing.last() != Some(&(len - 1)) {
            differing.push(len - 1);
        }
        differing
    }
}

fn refill<T: Copy>(all: &mut Vec<T>, len: usize, value: T) {
    all.resize(len, value);
    all.fill(value);
}
