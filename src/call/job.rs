//! A call on host memory, for any engine.

use std::ops::Range;

use super::{
    check::{Call, Operands, Place},
    slice::Slice,
};
use crate::{
    dtype::DType,
    shape::{Layout, step_to},
    signature::{Signature, gate::Store, outputs::Outputs},
};

/// A call on host memory with shapes that fit.
pub(crate) struct Job<'o, 'a> {
    pub(crate) signature: &'o Signature,
    /// The storage type.
    pub(crate) dtype: DType,
    pub(crate) call: Call,
    pub(crate) reads: Vec<Option<Slice<'a>>>,
}

impl Job<'_, '_> {
    /// The mask, if it is read.
    pub(crate) fn mask(&self) -> Option<Slice<'_>> {
        let mask = self.signature.upstream() + 1;
        if self.call.from_mask { self.reads.get(mask).copied().flatten() } else { None }
    }

    /// The wanted outputs that are sums, and those that are not.
    pub(crate) fn reduced(&self) -> Outputs {
        let writes = &self.call.writes;
        Outputs::present(writes.iter().map(|w| w.as_ref().is_some_and(|w| w.sum.is_some())))
    }

    pub(crate) fn whole(&self) -> Outputs {
        let writes = &self.call.writes;
        Outputs::present(writes.iter().map(|w| w.as_ref().is_some_and(|w| w.sum.is_none())))
    }

    /// The reads that `outputs` need, from element `from` of `z` on. Each is a slice of elements, or one number for
    /// all elements. `None` if any read is neither.
    pub(crate) fn plain(&self, outputs: Outputs, from: usize) -> Option<Operands<Slice<'_>>> {
        let len = self.call.len() as usize;
        self.needed(outputs)
            .map(|read| match read {
                Some(r) => self.uncopied(r, from..len).map(Some),
                None => Some(None),
            })
            .collect()
    }

    /// The reads that `outputs` need, for the elements of `z` in `range`. Those that [`plain`](Job::plain) does not take
    /// are copied.
    pub(crate) fn pieces(&self, outputs: Outputs, range: Range<usize>) -> Operands<Piece<'_>> {
        let piece = |r| match self.uncopied(r, range.clone()) {
            Some(slice) => Some(Piece::Slice(slice)),
            None => self.copied(r, &range),
        };
        self.needed(outputs).map(|read| piece(read?)).collect()
    }

    /// The numbers of the reads that a loop over elements has: inputs, upstream gradient, and the mask if it is read.
    /// `None` for a read that `outputs` do not need.
    fn needed(&self, outputs: Outputs) -> impl Iterator<Item = Option<usize>> {
        let needed = self.call.reads_for(self.signature, outputs);
        let count = self.signature.upstream() + 1 + usize::from(self.call.from_mask);
        (0..count).map(move |r| Some(r).filter(|r| self.reads[*r].is_some() && needed.contains(*r)))
    }

    /// A read for the elements of `z` in `range`, if it is a slice of elements or one number for all elements.
    fn uncopied(&self, r: usize, range: Range<usize>) -> Option<Slice<'_>> {
        let slice = self.reads[r]?;
        if self.is_mask_read(r) || self.is_contiguous(r) {
            return Some(slice.elements(range));
        }
        let at = self.one_for_all(r)?;
        Some(slice.elements(at..at + 1))
    }

    /// A strided read for the elements of `z` in `range`, in order.
    fn copied(&self, r: usize, range: &Range<usize>) -> Option<Piece<'_>> {
        let Some(Place::Strided(layout)) = &self.call.reads[r] else { return None };
        Some(match self.reads[r]? {
            Slice::F32(data) => Piece::F32(gathered(data, layout, range)),
            Slice::Half(dtype, data) => Piece::Half(dtype, gathered(data, layout, range)),
            Slice::Bits(_) => return None,
        })
    }

    /// The index of the one element that a read uses for all of `z`, if it does.
    fn one_for_all(&self, i: usize) -> Option<usize> {
        let Place::Strided(layout) = self.call.reads[i].as_ref()? else { return None };
        let stays = layout.shape().iter().zip(layout.strides()).all(|(d, s)| *d == 1 || *s == 0);
        stays.then_some(layout.offset() as usize)
    }

    /// Whether a read holds the elements of `z` one after the other, starting at its first element.
    fn is_contiguous(&self, i: usize) -> bool {
        matches!(self.call.reads[i], Some(Place::InOrder))
    }

    /// The outputs that are added to existing values.
    pub(crate) fn added(&self) -> Outputs {
        let writes = &self.call.writes;
        Outputs::present(writes.iter().map(|w| w.as_ref().is_some_and(|w| w.accumulate)))
    }

    /// How an output is stored.
    pub(crate) fn store(&self, w: usize) -> Store {
        self.signature.store(w, self.call.writes[w].as_ref().is_some_and(|w| w.accumulate))
    }

    pub(crate) fn is_mask_read(&self, i: usize) -> bool {
        self.signature.is_mask_read(i)
    }

    pub(crate) fn is_mask_write(&self, w: usize) -> bool {
        self.signature.mask() == Some(w)
    }

    /// Gives `take` the bytes of read `i` for the elements of `z` in `range`.
    pub(crate) fn with_read_bytes<R>(
        &self,
        i: usize,
        range: &Range<usize>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> R {
        match self.reads[i] {
            Some(slice) if self.is_mask_read(i) || self.is_contiguous(i) => {
                take(slice.elements(range.clone()).bytes())
            }
            _ => {
                let piece = self.copied(i, range);
                take(piece.as_ref().map_or(&[], |piece| piece.slice().bytes()))
            }
        }
    }
}

/// Elements of a read, in order: those in the caller's memory, or copies.
pub(crate) enum Piece<'a> {
    Slice(Slice<'a>),
    F32(Vec<f32>),
    Half(DType, Vec<u16>),
}

impl Piece<'_> {
    pub(crate) fn slice(&self) -> Slice<'_> {
        match self {
            Self::Slice(slice) => *slice,
            Self::F32(copied) => Slice::F32(copied),
            Self::Half(dtype, copied) => Slice::Half(*dtype, copied),
        }
    }
}

/// The elements of a strided read for the elements of `z` in `range`.
fn gathered<T: bytemuck::Pod>(data: &[T], layout: &Layout, range: &Range<usize>) -> Vec<T> {
    let mut out = vec![T::zeroed(); range.len()];
    let offset = layout.offset() as i64;
    copy_strided(data, offset, layout.shape(), layout.strides(), range.start as u64, &mut out, |v| v);
    out
}

/// Copies `out.len()` elements, starting at row-major index `start`, and converts each to the type of `out`.
pub(crate) fn copy_strided<T: Copy, U>(
    data: &[T],
    offset: i64,
    shape: &[u64],
    strides: &[i64],
    start: u64,
    out: &mut [U],
    convert: impl Fn(T) -> U,
) {
    let (inner, stride) = (shape.last().copied().unwrap_or(1), strides.last().copied().unwrap_or(0));
    let mut index = start;
    let mut rest = out;
    while !rest.is_empty() {
        let at = offset + step_to(shape, strides, index);
        let run = rest.len().min((inner - index % inner) as usize);
        let (now, later) = std::mem::take(&mut rest).split_at_mut(run);
        if stride == 1 {
            let data = &data[at as usize..][..run];
            now.iter_mut().zip(data).for_each(|(out, v)| *out = convert(*v));
        } else if stride == 0 {
            now.fill_with(|| convert(data[at as usize]));
        } else {
            (0..).zip(now).for_each(|(i, out)| *out = convert(data[(at + i * stride) as usize]));
        }
        index += run as u64;
        rest = later;
    }
}
