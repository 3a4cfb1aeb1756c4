//! One loop for every op, pass and storage type: load, widen, compute, round, store.

use std::mem;

use bytemuck::{cast_slice, cast_slice_mut};
use smallvec::SmallVec;

use super::{
    simd::{Kernel, LINE, Level, Stream, Vectors, in_order, prefetch},
    storage::{Aligned, Bf16, Bits, F16, F32, LANES, Storage, Wide, pack, unpack},
};
use crate::{
    call::slice::{Slice, SliceMut},
    dtype::DType,
    signature::{gate::Store, outputs::Outputs},
};

/// Elements of a call on the CPU path, as stored, for [`Compute::block`](super::compute::Compute::block).
#[derive(Debug)]
pub(crate) struct Block<'b, 'a> {
    pub(super) level: Level,
    /// The type in the slices: the storage type, or f32 if they were widened before and are rounded later.
    pub(super) stored: DType,
    pub(super) len: usize,
    /// Numbered as the op's reads. None if the wanted outputs do not need the read.
    pub(super) reads: &'b [Option<Slice<'b>>],
    /// None if the output is not wanted.
    pub(super) writes: &'b mut [Option<SliceMut<'a>>],
    /// How each write is stored. A write that is not listed is set.
    pub(super) stores: Stores,
    /// Whether the outputs leave the caches before anyone reads them, so they should bypass the caches.
    pub(super) past_caches: bool,
}

/// How writes are stored, by their numbers.
pub(super) type Stores = SmallVec<[Store; 4]>;

/// Computes [`LANES`] elements of some writes from as many of some reads, all in f32 and in one order. A mask's
/// elements are 1 or 0.
pub(crate) trait Lanes<const R: usize, const W: usize> {
    /// Mark it, and what it calls, `#[inline(always)]`. Any NaN that it computes must be the canonical one.
    fn lanes<V: Vectors>(&mut self, vectors: V, reads: [&Wide; R], writes: &mut [Aligned<Wide>; W]);
}

impl<'b, 'a> Block<'b, 'a> {
    /// A block of `len` elements stored as f32, for the machine's best instructions.
    pub(super) fn new(
        len: usize,
        reads: &'b [Option<Slice<'b>>],
        writes: &'b mut [Option<SliceMut<'a>>],
    ) -> Self {
        Self {
            level: Level::detect(),
            stored: DType::F32,
            len,
            reads,
            writes,
            stores: Stores::new(),
            past_caches: false,
        }
    }

    fn store(&self, write: usize) -> Store {
        self.stores.get(write).copied().unwrap_or(Store::Set)
    }

    /// The wanted outputs, and the mask if it gates a wanted output that is added to existing values.
    pub(crate) fn outputs(&self) -> Outputs {
        let wanted = Outputs::present(self.writes.iter().map(Option::is_some));
        if self.stores.is_empty() {
            return wanted;
        }
        let gates = wanted.iter().filter_map(|w| self.store(w).gate()).map(Outputs::of);
        gates.fold(wanted, Outputs::union)
    }

    /// Computes element by element. `f` receives all reads and sets all writes; the wanted writes are stored.
    pub(crate) fn for_each(self, mut f: impl FnMut(&[f32], &mut [f32])) {
        let mut reads = vec![0.0; self.reads.len()];
        let mut writes = vec![0.0; self.writes.len()];
        let stores: Vec<Store> = (0..self.writes.len()).map(|w| self.store(w)).collect();
        for i in 0..self.len {
            for (read, from) in reads.iter_mut().zip(self.reads) {
                *read = from.map_or(0.0, |from| from.get(if from.is_one_for_all(self.len) { 0 } else { i }));
            }
            f(&reads, &mut writes);
            for (w, to) in self.writes.iter_mut().enumerate() {
                let Some(to) = to else { continue };
                let passes = stores[w].gate().is_none_or(|mask| writes[mask] != 0.0);
                to.store(i, stores[w], writes[w], passes);
            }
        }
    }

    /// Computes many elements at a time, from the reads and to the writes with these numbers. A missing read is
    /// zeros.
    pub(crate) fn lanes<const R: usize, const W: usize>(
        self,
        reads: [usize; R],
        writes: [usize; W],
        lanes: &mut impl Lanes<R, W>,
    ) {
        match self.stored {
            DType::F32 => self.stored_as::<F32, R, W>(reads, writes, lanes),
            DType::F16 => self.stored_as::<F16, R, W>(reads, writes, lanes),
            DType::Bf16 => self.stored_as::<Bf16, R, W>(reads, writes, lanes),
        }
    }

    fn stored_as<S: Storage, const R: usize, const W: usize>(
        self,
        reads: [usize; R],
        writes: [usize; W],
        lanes: &mut impl Lanes<R, W>,
    ) {
        let Self { level, len, past_caches, .. } = self;
        let sources = reads.map(|r| Source::<S>::new(self.reads.get(r).copied().flatten(), len));
        let adding = writes.map(|w| match self.store(w) {
            Store::AddWhere(mask) => {
                Adding::Where(writes.iter().position(|w| *w == mask).expect("an op that gives its mask"))
            }
            Store::Add => Adding::Everywhere,
            Store::Set | Store::SetWhere(_) => Adding::Nowhere,
        });
        let targets = writes.map(|w| {
            let target = self.writes.get_mut(w).and_then(Option::as_mut);
            target.map(|target| Target::<S>::new(target.cut(len)))
        });
        in_order(|stream| {
            let past_caches = past_caches.then_some(stream);
            level.run(Loop { lanes, len, sources, targets, adding, past_caches });
        });
    }
}

/// Where an output is added to existing values.
#[derive(Clone, Copy)]
enum Adding {
    Nowhere,
    Everywhere,
    /// Where the lanes of the output at this index are not 0.
    Where(usize),
}

/// Room for loaded elements: the lanes, and elements padded to [`LANES`].
type Scratch<S> = (Aligned<Wide>, Aligned<[<S as Storage>::Bits; LANES]>);

enum Source<'a, S: Storage> {
    None,
    Elements(&'a [S::Bits]),
    /// One number for all elements.
    One(f32),
    Mask(&'a [u32]),
}

impl<'a, S: Storage> Source<'a, S> {
    fn new(slice: Option<Slice<'a>>, len: usize) -> Self {
        match slice {
            None => Self::None,
            Some(slice) if slice.is_one_for_all(len) => Self::One(slice.get(0)),
            Some(Slice::F32(slice)) => Self::Elements(cast_slice(slice)),
            Some(Slice::Half(_, slice)) => Self::Elements(cast_slice(slice)),
            Some(Slice::Bits(words)) => Self::Mask(words),
        }
    }

    /// Loads `count` elements into the lanes; the remaining lanes are arbitrary. `scratch` provides the memory.
    #[inline(always)]
    fn load<'s, V: Vectors>(
        &'s self,
        vectors: V,
        start: usize,
        count: usize,
        scratch: &'s mut Scratch<S>,
    ) -> &'s Wide {
        match self {
            Self::None => &scratch.0.0,
            Self::Elements(slice) => widen::<S, V>(vectors, &slice[start..][..count], scratch),
            Self::One(value) => {
                scratch.0.0 = [*value; LANES];
                &scratch.0.0
            }
            Self::Mask(words) => {
                unpack::<S>(&bits_at(words, start), &mut scratch.0.0);
                &scratch.0.0
            }
        }
    }
}

/// Widens up to [`LANES`] elements. The remaining lanes are ones.
#[inline(always)]
fn widen<'s, S: Storage, V: Vectors>(
    vectors: V,
    slice: &'s [S::Bits],
    (Aligned(wide), Aligned(padded)): &'s mut Scratch<S>,
) -> &'s Wide {
    if let Some(elements) = slice.first_chunk() {
        return S::widen(vectors, elements, wide);
    }
    *padded = [S::ONE; LANES];
    padded[..slice.len()].copy_from_slice(slice);
    S::widen(vectors, padded, wide)
}

/// The bits from bit `start` on, as far as there are words.
fn bits_at(words: &[u32], start: usize) -> Bits {
    let word = |i: usize| u64::from(words.get(start / 32 + i).copied().unwrap_or(0));
    let mut bits = Bits::default();
    for (i, bits) in bits.iter_mut().enumerate() {
        *bits = ((word(i + 1) << 32 | word(i)) >> (start % 32)) as u32;
    }
    bits
}

enum Target<'a, S: Storage> {
    Elements(&'a mut [S::Bits]),
    Mask(Packer<'a>),
}

impl<'a, S: Storage> Target<'a, S> {
    fn new(slice: SliceMut<'a>) -> Self {
        match slice {
            SliceMut::F32(slice) => Self::Elements(cast_slice_mut(slice)),
            SliceMut::Half(_, slice) => Self::Elements(cast_slice_mut(slice)),
            SliceMut::Bits(words) => Self::Mask(Packer { words, pending: 0, count: 0 }),
        }
    }

    /// Adds the next `count` stored elements to the lanes that the gate passes.
    #[inline(always)]
    fn add<V: Vectors>(&self, vectors: V, wide: &mut Wide, count: usize, gate: Option<&Wide>) {
        let Self::Elements(rest) = self else { return };
        let mut scratch = (Aligned([0.0; LANES]), Aligned([S::ONE; LANES]));
        let old = widen::<S, V>(vectors, &rest[..count], &mut scratch);
        for i in 0..LANES {
            let passes = gate.is_none_or(|gate| gate[i] != 0.0);
            wide[i] = Store::AddWhere(0).stored(old[i], wide[i], passes);
        }
    }

    /// Stores the next `count` elements.
    #[inline(always)]
    fn store<V: Vectors>(&mut self, vectors: V, wide: &Wide, count: usize, past: Option<&Stream<'a>>) {
        match self {
            Self::Elements(rest) => {
                let mut rounded = Aligned([S::ONE; LANES]);
                S::round(vectors, wide, &mut rounded.0);
                let rounded = &rounded.0;
                let (to, later) = mem::take(rest).split_at_mut(count);
                *rest = later;
                match past {
                    Some(stream) if count == LANES => {
                        stream.copy(vectors, cast_slice(rounded), cast_slice_mut(to));
                    }
                    _ => to.copy_from_slice(&rounded[..count]),
                }
            }
            Self::Mask(packer) => packer.push(&pack::<S>(wide), count),
        }
    }
}

/// Packs bits into words.
struct Packer<'a> {
    words: &'a mut [u32],
    pending: u64,
    /// The number of pending bits, less than a word.
    count: usize,
}

impl Packer<'_> {
    #[inline(always)]
    fn push(&mut self, bits: &Bits, count: usize) {
        for (i, word) in bits.iter().enumerate() {
            let some = count.saturating_sub(32 * i).min(32);
            self.pending |= (u64::from(*word) & ((1 << some) - 1)) << self.count;
            self.count += some;
            if self.count >= 32 {
                self.pop();
                self.count -= 32;
            }
        }
    }

    #[inline(always)]
    fn pop(&mut self) {
        if let Some(word) = self.words.split_off_first_mut() {
            *word = self.pending as u32;
        }
        self.pending >>= 32;
    }
}

impl Drop for Packer<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.pop();
        }
    }
}

struct Loop<'l, 'r, 'a, L, S: Storage, const R: usize, const W: usize> {
    lanes: &'l mut L,
    len: usize,
    sources: [Source<'r, S>; R],
    targets: [Option<Target<'a, S>>; W],
    adding: [Adding; W],
    past_caches: Option<&'l Stream<'a>>,
}

impl<L: Lanes<R, W>, S: Storage, const R: usize, const W: usize> Kernel for Loop<'_, '_, '_, L, S, R, W> {
    #[inline(always)]
    fn run<V: Vectors>(mut self, vectors: V) {
        let zeros = Aligned([0.0; LANES]);
        let mut scratch = ([(zeros, Aligned([S::ONE; LANES])); R], [zeros; W]);
        let mut ahead = Ahead::default();
        let mut start = 0;
        if self.past_caches.is_some() {
            start = self.before_line();
            self.block(vectors, 0, start, &mut scratch);
        }
        while self.len - start >= LANES {
            if self.past_caches.is_some() {
                ahead.fetch(&self.sources, start);
            }
            self.block(vectors, start, LANES, &mut scratch);
            start += LANES;
        }
        self.block(vectors, start, self.len - start, &mut scratch);
    }
}

impl<L: Lanes<R, W>, S: Storage, const R: usize, const W: usize> Loop<'_, '_, '_, L, S, R, W> {
    #[inline(always)]
    fn block<V: Vectors>(
        &mut self,
        vectors: V,
        start: usize,
        count: usize,
        (scratch, writes): &mut ([Scratch<S>; R], [Aligned<Wide>; W]),
    ) {
        if count == 0 {
            return;
        }
        let mut reads = [&[0.0; LANES]; R];
        for ((read, source), scratch) in reads.iter_mut().zip(&self.sources).zip(scratch) {
            *read = source.load(vectors, start, count, scratch);
        }
        self.lanes.lanes(vectors, reads, writes);
        for w in 0..W {
            let Some(target) = &mut self.targets[w] else { continue };
            match self.adding[w] {
                Adding::Nowhere => {}
                Adding::Everywhere => target.add(vectors, &mut writes[w].0, count, None),
                Adding::Where(gate) => {
                    let gate = writes[gate].0;
                    target.add(vectors, &mut writes[w].0, count, Some(&gate));
                }
            }
            target.store(vectors, &writes[w].0, count, self.past_caches);
        }
    }

    /// The number of elements before the first output reaches the start of a cache line. Outputs that are not at the
    /// start of a line there go through the caches.
    fn before_line(&self) -> usize {
        let elements = self.targets.iter().flatten().find_map(|target| match target {
            Target::Elements(slice) => Some(slice.as_ptr().align_offset(LINE)),
            Target::Mask(_) => None,
        });
        elements.map_or(0, |elements| elements.min(self.len))
    }
}

/// Prefetches what is read next, one line of each of several pages in turn. Only requests to about four pages keep
/// enough of them in flight for a core.
#[derive(Default)]
struct Ahead {
    /// The first prefetched element.
    from: usize,
    /// The number of lines prefetched from there on.
    lines: usize,
}

impl Ahead {
    /// The number of pages to prefetch from at a time, and the bytes of a page. A processor does not prefetch across
    /// pages on its own.
    const PAGES: usize = 4;
    const PAGE: usize = 4096;

    #[inline(always)]
    fn fetch<S: Storage>(&mut self, sources: &[Source<S>], start: usize) {
        let size = size_of::<S::Bits>();
        if start >= self.from {
            *self = Self { from: start + Self::PAGES * Self::PAGE / size, lines: 0 };
        }
        let lines = self.lines..self.lines + LANES * size / LINE;
        for source in sources {
            let Source::Elements(slice) = source else { continue };
            let first = slice.as_ptr().cast::<u8>().wrapping_add(self.from * size);
            for line in lines.clone() {
                prefetch(first.wrapping_add(line % Self::PAGES * Self::PAGE + line / Self::PAGES * LINE));
            }
        }
        self.lines = lines.end;
    }
}

/// Computes the gated gradient from the lanes of a mask and a gradient, and passes the mask on.
pub(super) struct Gate;

impl Lanes<2, 2> for Gate {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [mask, gradient]: [&Wide; 2],
        [Aligned(gated), Aligned(gate)]: &mut [Aligned<Wide>; 2],
    ) {
        for i in 0..LANES {
            gated[i] = Store::SetWhere(1).stored(0.0, gradient[i], mask[i] != 0.0);
            gate[i] = mask[i];
        }
    }
}

/// Copies the lanes.
#[cfg(not(target_arch = "wasm32"))]
pub(super) struct Copy;

#[cfg(not(target_arch = "wasm32"))]
impl Lanes<1, 1> for Copy {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, _: V, [from]: [&Wide; 1], [Aligned(to)]: &mut [Aligned<Wide>; 1]) {
        *to = *from;
    }
}
