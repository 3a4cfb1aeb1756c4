//! Owned operands, and their comparison by bits.

use rayon::prelude::*;

use crate::{
    call::{
        host::{Output, View},
        slice::{Slice, SliceMut},
    },
    dtype::DType,
};

/// Owned elements of one operand.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    F32(Vec<f32>),
    /// Elements of a 2-byte type.
    Half(DType, Vec<u16>),
    /// One bit for each of this many elements.
    Bits(usize, Vec<u32>),
}

impl Column {
    /// Zeros. Without a storage type, a mask.
    pub(crate) fn zeros(dtype: Option<DType>, len: usize) -> Self {
        match dtype {
            Some(DType::F32) => Self::F32(vec![0.0; len]),
            Some(dtype) => Self::Half(dtype, vec![0; len]),
            None => Self::Bits(len, vec![0; len.div_ceil(32)]),
        }
    }

    /// Rounds numbers to the storage type. For a mask, each bit says whether the number is not 0.
    pub(crate) fn of(dtype: Option<DType>, values: &[f32]) -> Self {
        let mut column = Self::zeros(dtype, 0);
        column.set(values);
        column
    }

    /// [`of`](Column::of), reusing the memory.
    pub(crate) fn set(&mut self, values: &[f32]) {
        match self {
            Column::F32(column) => values.par_iter().copied().collect_into_vec(column),
            Column::Half(dtype, column) => {
                // One loop for each type, so that the type is known inside the loop.
                macro_rules! rounded {
                    ($dtype:ident) => {
                        values.par_iter().map(|v| DType::$dtype.round(*v) as u16).collect_into_vec(column)
                    };
                }
                match dtype {
                    DType::F16 => rounded!(F16),
                    DType::Bf16 => rounded!(Bf16),
                    DType::F32 => unreachable!("its elements have 32 bits"),
                }
            }
            Column::Bits(len, column) => {
                let word =
                    |bits: &[f32]| bits.iter().rev().fold(0, |word, b| word << 1 | u32::from(*b != 0.0));
                *len = values.len();
                values.par_chunks(32).map(word).collect_into_vec(column);
            }
        }
    }

    /// Fills the column, in the length of `expected`, with bit patterns that no output has unless it is written. An
    /// element that a device does not write counts as wrong.
    pub(crate) fn unwrite(&mut self, expected: &Self) {
        match self {
            Column::F32(v) => refill(v, expected.len(), f32::from_bits(0xffed_cba9)),
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
        View::of(self.slice())
    }

    pub(crate) fn output(&mut self) -> Output<'_> {
        Output::of(self.slice_mut())
    }

    /// The elements as f32.
    pub(crate) fn values(&self) -> Vec<f32> {
        (0..self.len()).into_par_iter().map(|i| self.slice().get(i)).collect()
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        match self {
            Column::F32(v) => v.len(),
            Column::Half(_, v) => v.len(),
            Column::Bits(len, _) => *len,
        }
    }

    /// The bits of an element. A 2-byte type has them in the low half.
    pub(crate) fn bits(&self, i: usize) -> u32 {
        match self {
            Column::F32(v) => v[i].to_bits(),
            Column::Half(_, v) => v[i].into(),
            Column::Bits(_, words) => words[i / 32] >> (i % 32) & 1,
        }
    }

    /// The elements that differ in any bit, or all elements if the lengths differ. The unused bits of a mask's last
    /// word count as part of its last element.
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
