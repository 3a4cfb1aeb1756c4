//! Calls of any kind: where each operand is, and what every word must be afterwards by the definitions alone.

use elemgrad::{
    Args, DType, Layout, Op, Output, Outputs, Runner, View,
    signature::{OutputKind, Signature},
};

use super::{Draw, Table, output_of, view_of};

/// Where an operand is: a buffer, its first element in the buffer, and the layout of its elements from there. For a
/// mask, elements are words.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub buffer: usize,
    pub start: usize,
    pub layout: Layout,
}

impl Place {
    pub fn new(buffer: usize, start: usize, len: usize) -> Self {
        Self { buffer, start, layout: Layout::contiguous(&[len as u64]) }
    }

    /// The number of elements in its range.
    pub fn len(&self) -> usize {
        self.layout.extent().map_or(0, |(_, high)| high as usize + 1)
    }

    /// The layout. At every second start, a default layout is left out.
    pub fn said(&self, unsaid: &Layout) -> Option<Layout> {
        (self.layout != *unsaid || self.start.is_multiple_of(2)).then(|| self.layout.clone())
    }

    /// The position, in elements of the buffer, of the element for an index of a shape that this shape broadcasts to.
    pub fn at(&self, index: &[u64]) -> usize {
        let (shape, strides) = (self.layout.shape(), self.layout.strides());
        let own = &index[index.len() - shape.len()..];
        let steps = own.iter().zip(shape.iter().zip(strides));
        let steps: i64 = steps.map(|(i, (d, s))| if *d == 1 { 0 } else { *i as i64 * s }).sum();
        (self.start as i64 + self.layout.offset() as i64 + steps) as usize
    }
}

/// A call on a table's inputs, with a place for every operand.
#[derive(Clone)]
pub struct Call<'a> {
    pub table: &'a Table,
    pub outputs: Outputs,
    /// The gradients that are accumulated.
    pub added: Outputs,
    pub from_mask: bool,
    pub reads: Vec<Option<Place>>,
    pub writes: Vec<Option<Place>>,
}

/// The number of words after the last operand of a buffer. They must stay unchanged.
const PADDING: usize = 67;

impl<'a> Call<'a> {
    /// A call on the first `len` rows. Every needed operand has its own buffer. `start` chooses its first element
    /// from the number of the operand.
    pub fn apart(table: &'a Table, len: usize, outputs: Outputs, start: impl Fn(usize) -> usize) -> Self {
        Self::backward_from(table, len, outputs, false, start)
    }

    /// The same, reading the mask if `from_mask`.
    pub fn backward_from(
        table: &'a Table,
        len: usize,
        outputs: Outputs,
        from_mask: bool,
        start: impl Fn(usize) -> usize,
    ) -> Self {
        let signature = table.op.signature();
        let place = |i, is_mask| Place::new(i, start(i), if is_mask { len.div_ceil(32) } else { len });
        let needed = signature.reads_for(outputs, from_mask);
        let reads = signature.read_count();
        let read = |i: usize| needed.contains(&i).then(|| place(i, i > signature.upstream()));
        let write = |w| outputs.contains(w).then(|| place(reads + w, signature.mask() == Some(w)));
        Self {
            table,
            outputs,
            added: Outputs::NONE,
            from_mask,
            reads: (0..reads).map(read).collect(),
            writes: (0..signature.write_count()).map(write).collect(),
        }
    }

    pub fn op(&self) -> &'static Op {
        self.table.op
    }

    fn signature(&self) -> &'static Signature {
        self.table.op.signature()
    }

    pub fn dtype(&self) -> DType {
        self.table.dtype
    }

    /// The elements of an operand per word.
    fn per_word(&self, is_mask: bool) -> usize {
        if is_mask { 1 } else { 4 / self.dtype().size() as usize }
    }

    /// Every operand that is present: its place, and whether it is a mask.
    fn places(&self) -> impl Iterator<Item = (&Place, bool)> {
        let signature = self.signature();
        let reads = self.reads.iter().enumerate().map(|(i, p)| (p, i > signature.upstream()));
        let writes = self.writes.iter().enumerate().map(|(w, p)| (p, signature.mask() == Some(w)));
        reads.chain(writes).filter_map(|(place, is_mask)| Some((place.as_ref()?, is_mask)))
    }

    /// The shape that the given inputs broadcast to. Without inputs, the shape of the upstream gradient.
    pub fn shape(&self) -> Vec<u64> {
        let (inputs, rest) = self.reads.split_at(self.signature().upstream());
        let mut shapes = inputs.iter().flatten().map(|p| p.layout.shape().to_vec());
        let Some(first) = shapes.next() else {
            return rest[0].as_ref().expect("some read").layout.shape().to_vec();
        };
        shapes.fold(first, |a, b| {
            let rank = a.len().max(b.len());
            let dimension =
                |s: &[u64], axis: usize| (axis + s.len()).checked_sub(rank).map_or(1, |own| s[own]);
            (0..rank)
                .map(|axis| [dimension(&a, axis), dimension(&b, axis)])
                .map(|[a, b]| if a == 1 { b } else { a })
                .collect()
        })
    }

    /// The buffers before the call: inputs in their places, and everywhere else a word that encodes its position.
    pub fn images(&self) -> Vec<Vec<u32>> {
        let count = 1 + self.places().map(|(p, _)| p.buffer).max().expect("an op has operands");
        let mut images: Vec<Vec<u32>> = (0..count)
            .map(|b| {
                let words =
                    |(p, is_mask): (&Place, bool)| (p.start + p.len()).div_ceil(self.per_word(is_mask));
                let end = self.places().filter(|(p, _)| p.buffer == b).map(words).max().unwrap_or(0);
                (0..end + PADDING).map(|i| 0xffa0_0000 ^ (b << 16 | i) as u32).collect()
            })
            .collect();
        for place in self.added.iter().map(|w| self.write(w)) {
            // The values that gradients are added to are arbitrary, including NaNs with payloads.
            for (k, bits) in self.table.reads[0].iter().rev().take(place.len()).enumerate() {
                self.set(&mut images[place.buffer], false, place.start + k, *bits);
            }
        }
        for (i, place) in self.reads.iter().enumerate() {
            let Some(place) = place else { continue };
            let is_mask = i > self.signature().upstream();
            for (k, bits) in self.table.reads[i].iter().take(place.len()).enumerate() {
                self.set(&mut images[place.buffer], is_mask, place.start + k, *bits);
            }
        }
        images
    }

    fn get(&self, image: &[u32], i: usize) -> u32 {
        match self.per_word(false) {
            1 => image[i],
            _ => image[i / 2] >> (i % 2 * 16) & 0xffff,
        }
    }

    fn set(&self, image: &mut [u32], is_mask: bool, i: usize, bits: u32) {
        match self.per_word(is_mask) {
            1 => image[i] = bits,
            _ => image[i / 2] = image[i / 2] & (0xffff_0000 >> (i % 2 * 16)) | bits << (i % 2 * 16),
        }
    }

    /// The values of the inputs and the upstream gradient at an index.
    fn values(&self, images: &[Vec<u32>], index: &[u64]) -> Vec<f32> {
        let reads = self.reads.iter().take(self.signature().upstream() + 1);
        let value = |p: &Place| self.dtype().widen(self.get(&images[p.buffer], p.at(index)));
        reads.map(|place| place.as_ref().map_or(0.0, value)).collect()
    }

    /// The buffers after the call.
    pub fn expected(&self, before: &[Vec<u32>]) -> Vec<Vec<u32>> {
        let (signature, dtype) = (self.signature(), self.dtype());
        let shape = self.shape();
        let mut after = before.to_vec();
        let is_sum: Vec<bool> = (0..signature.write_count()).map(|w| self.is_sum(w)).collect();
        let mut terms: Vec<Vec<Vec<f32>>> = vec![Vec::new(); signature.write_count()];
        for w in self.outputs.iter() {
            let place = self.write(w);
            if signature.mask() == Some(w) {
                after[place.buffer][place.start..][..place.len()].fill(0);
            } else if is_sum[w] {
                terms[w] = vec![Vec::new(); place.len()];
            }
        }
        let mut values = vec![0.0; signature.write_count()];
        let mut index = vec![0; shape.len()];
        for i in 0..shape.iter().product::<u64>() as usize {
            let mut rest = i as u64;
            for (digit, d) in index.iter_mut().zip(&shape).rev() {
                (*digit, rest) = (rest % d, rest / d);
            }
            let reads = self.values(before, &index);
            self.op().reference(dtype, &reads, &mut values);
            let mut open = signature.mask().is_none_or(|w| values[w] != 0.0);
            if self.from_mask {
                let mask = self.reads.last().and_then(Option::as_ref).expect("the mask");
                open = before[mask.buffer][mask.start + i / 32] >> (i % 32) & 1 == 1;
                for w in self.outputs.iter() {
                    // A gradient with a gate is the upstream gradient if the gate is open.
                    values[w] = if open { reads[signature.upstream()] } else { 0.0 };
                }
            }
            for w in self.outputs.iter() {
                let (place, output) = (self.write(w), &signature.outputs()[w]);
                let image = &mut after[place.buffer];
                if output.kind == OutputKind::Mask {
                    image[place.start + i / 32] |= u32::from(values[w] != 0.0) << (i % 32);
                } else if is_sum[w] {
                    terms[w][place.at(&index) - place.start].push(values[w]);
                } else if open || !output.gated || !self.added.contains(w) {
                    self.put(image, w, place.at(&index), values[w]);
                }
            }
        }
        for w in self.outputs.iter() {
            let place = self.write(w);
            for (i, terms) in terms[w].iter().enumerate() {
                self.put(&mut after[place.buffer], w, place.start + i, tree(terms));
            }
        }
        after
    }

    /// Stores an element of an output, or adds to it.
    fn put(&self, image: &mut [u32], w: usize, i: usize, value: f32) {
        let dtype = self.dtype();
        let value = if self.added.contains(w) { add(dtype.widen(self.get(image, i)), value) } else { value };
        self.set(image, false, i, dtype.round(value));
    }

    fn write(&self, w: usize) -> &Place {
        self.writes[w].as_ref().expect("a wanted output has a place")
    }

    /// Whether an output is a sum over any axis.
    pub fn is_sum(&self, w: usize) -> bool {
        self.signature().mask() != Some(w)
            && self.writes[w].as_ref().is_some_and(|place| {
                let (own, shape) = (place.layout.shape(), self.shape());
                own.iter().rev().ne(shape.iter().rev().take(own.len()))
                    || shape[..shape.len() - own.len()].iter().any(|d| *d != 1)
            })
    }

    /// Whether every operand is contiguous and all have the same shape.
    pub fn is_plain(&self) -> bool {
        let contiguous = Layout::contiguous(&self.shape());
        let mut places = self.places().filter(|(_, is_mask)| !is_mask);
        places.all(|(place, _)| place.layout == contiguous)
    }

    /// Whether neither of two groups of outputs can be written first. One group begins within words. The other begins
    /// at words, or is a mask. Each has an output in place of an input that the other needs.
    pub fn has_no_order(&self) -> bool {
        let signature = self.signature();
        let whole = self.outputs.iter().filter(|w| !self.is_sum(*w));
        let within = |w: &usize| {
            signature.mask() != Some(*w) && self.per_word(false) == 2 && self.write(*w).start % 2 == 1
        };
        let (odd, even): (Vec<usize>, Vec<usize>) = whole.partition(within);
        let over = |first: &[usize], second: &[usize]| {
            let second = second.iter().fold(Outputs::NONE, |all, w| all | Outputs::of(*w));
            let needed = signature.reads_for(second, self.from_mask);
            needed.iter().any(|r| first.iter().any(|w| self.writes[*w] == self.reads[*r]))
        };
        over(&odd, &even) && over(&even, &odd)
    }

    /// Compares every word of every buffer.
    ///
    /// # Errors
    /// The first difference, and the number of differences.
    pub fn compare(&self, name: &str, got: &[Vec<u32>]) -> Result<(), String> {
        let before = self.images();
        let expected = self.expected(&before);
        let words = expected.iter().enumerate().flat_map(|(b, image)| (0..image.len()).map(move |i| (b, i)));
        let wrong: Vec<(usize, usize)> = words.filter(|&(b, i)| got[b][i] != expected[b][i]).collect();
        let Some(&(b, i)) = wrong.first() else { return Ok(()) };
        let hit = self.outputs.iter().find(|w| {
            let (place, per_word) = (self.write(*w), self.per_word(self.signature().mask() == Some(*w)));
            place.buffer == b
                && (place.start / per_word..(place.start + place.len()).div_ceil(per_word)).contains(&i)
        });
        let output = hit.map_or("nobody's", |w| &*self.signature().outputs()[w].name);
        let [was, got, right] = [&before, got, &expected].map(|images| images[b][i]);
        Err(format!(
            "{name}: {} {output}: word {i} of buffer {b} was {was:08x} and is {got:08x}, \
             not {right:08x} ({} words are wrong): {self:?}",
            self.op().name(),
            wrong.len(),
        ))
    }

    /// Runs the call on host memory, with a slice for each output, and compares every slice.
    ///
    /// # Errors
    /// The error of the runner, or the differences.
    pub fn check_on_host(&self, runner: &Runner) -> Result<(), String> {
        let (signature, dtype) = (self.signature(), self.dtype());
        let before = self.images();
        let shape = Layout::contiguous(&self.shape());
        let view = |(i, place): (usize, &'_ Option<Place>)| {
            let place = place.as_ref()?;
            let (image, range) = (&before[place.buffer], place.start..place.start + place.len());
            if i > signature.upstream() {
                return Some(View::from(&image[range]));
            }
            let view = view_of(dtype, image, range);
            let unsaid = if i < signature.upstream() {
                Layout::contiguous(&[place.len() as u64])
            } else {
                shape.clone()
            };
            Some(match place.said(&unsaid) {
                Some(layout) => view.layout(layout),
                None => view,
            })
        };
        let mut after = before.clone();
        // Outputs may share a buffer, and may be in place.
        let mut columns: Vec<Option<Vec<u32>>> =
            self.writes.iter().map(|p| Some(before[p.as_ref()?.buffer].clone())).collect();
        let writes = columns.iter_mut().zip(&self.writes).enumerate().map(|(w, (image, place))| {
            let (image, place) = (image.as_mut()?, place.as_ref()?);
            let range = place.start..place.start + place.len();
            let output = if signature.mask() == Some(w) {
                Output::from(&mut image[range])
            } else {
                output_of(dtype, image, range)
            };
            Some(if self.added.contains(w) { output.accumulate() } else { output })
        });
        let args: Args<View, Output> =
            Args::new(self.op(), self.reads.iter().enumerate().map(view).collect(), writes.collect());
        runner.run(args).map_err(|e| format!("{}: {e}: {self:?}", runner.name()))?;
        for (column, place) in columns.iter().zip(&self.writes) {
            let (Some(column), Some(place)) = (column, place) else { continue };
            let old = &before[place.buffer];
            let words = after[place.buffer].iter_mut().zip(column.iter().zip(old));
            words.for_each(|(word, (new, old))| *word ^= new ^ old);
        }
        self.compare(runner.name(), &after)
    }
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "{} {} on {}, {:?}",
            self.op().name(),
            self.dtype().name(),
            self.table.source,
            self.shape()
        )?;
        let mut operand = |name: &str, place: &Option<Place>, is_added: bool| {
            let Some(Place { buffer, start, layout }) = place else { return Ok(()) };
            let sign = if is_added { " +=" } else { "" };
            write!(
                f,
                "; {name}{sign} {buffer}:{start} {:?} {:?} {}",
                layout.shape(),
                layout.strides(),
                layout.offset()
            )
        };
        for (name, place) in self.signature().read_names().zip(&self.reads) {
            operand(name, place, false)?;
        }
        for (w, place) in self.writes.iter().enumerate() {
            operand(&self.signature().outputs()[w].name, place, self.added.contains(w))?;
        }
        Ok(())
    }
}

/// The IEEE sum, with the canonical NaN.
fn add(a: f32, b: f32) -> f32 {
    if (a + b).is_nan() { f32::from_bits(0x7fc0_0000) } else { a + b }
}

/// The sum that the signature defines: a perfect binary tree in which missing leaves are -0. A single term is copied.
pub fn tree(terms: &[f32]) -> f32 {
    let mut level = terms.to_vec();
    level.resize(terms.len().next_power_of_two(), -0.0);
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| add(pair[0], pair[1])).collect();
    }
    if terms.is_empty() { 0.0 } else { level[0] }
}

// Random calls.

/// A random call on one of the tables. No operand has more elements than a table.
pub fn draw_call<'a>(draw: &mut Draw, tables: &'a [Table]) -> Call<'a> {
    let table = &tables[draw.below(tables.len())];
    let signature = table.op.signature();
    let writes = signature.write_count();
    let outputs = loop {
        let set = Outputs::present((0..writes).map(|_| draw.one_in(2)));
        if !set.is_empty() {
            break set;
        }
    };
    let gradients =
        Outputs::present((0..writes).map(|w| outputs.contains(w) && signature.gradient_of(w).is_some()));
    let from_mask = signature.mask().is_some() && gradients == outputs && draw.one_in(2);
    let needed = signature.reads_for(outputs, from_mask);
    let full = draw_shape(draw, table.len());
    let upstream = signature.upstream();
    let mut reads = vec![None; signature.read_count()];
    for (i, read) in reads.iter_mut().enumerate().take(upstream) {
        // An input that is not needed may be left out. It then does not take part in the broadcast.
        if needed.contains(&i) || draw.one_in(2) {
            let shape = if upstream == 1 || draw.one_in(3) { full.clone() } else { narrowed(draw, &full) };
            *read = Some(Place { buffer: 0, start: 0, layout: draw_layout(draw, &shape, table.len()) });
        }
    }
    let has_inputs = reads.iter().any(Option::is_some);
    reads[upstream] = Some(Place { buffer: 0, start: 0, layout: Layout::contiguous(&full) });
    let mut call =
        Call { table, outputs, added: Outputs::NONE, from_mask, reads, writes: vec![None; writes] };
    let shape = if has_inputs { call.shape() } else { full };
    let len: u64 = shape.iter().product();
    let words = |len: u64| Place::new(0, 0, len.div_ceil(32) as usize);
    let dz = Place { buffer: 0, start: 0, layout: draw_layout(draw, &shape, table.len()) };
    call.reads[upstream] = (needed.contains(&upstream) || !has_inputs || draw.one_in(2)).then_some(dz);
    if signature.mask().is_some() {
        call.reads[upstream + 1] = from_mask.then(|| words(len));
    }
    for w in outputs.iter() {
        let input = signature.gradient_of(w).and_then(|i| call.reads[i].as_ref());
        let own = input.map_or_else(|| shape.clone(), |p| p.layout.shape().to_vec());
        let place = Place { buffer: 0, start: 0, layout: Layout::contiguous(&own) };
        call.writes[w] = Some(if signature.mask() == Some(w) { words(len) } else { place });
    }
    call.added = Outputs::present((0..writes).map(|w| gradients.contains(w) && draw.one_in(3)));
    draw_places(draw, &mut call);
    call
}

/// A shape of up to 5 axes. Most are small; now and then one is large or empty.
fn draw_shape(draw: &mut Draw, most: usize) -> Vec<u64> {
    loop {
        let mut shape: Vec<u64> =
            (0..draw.below(6)).map(|_| draw.pick(&[1, 2, 3, 4, 5, 7, 8, 12, 16])).collect();
        if !shape.is_empty() && draw.one_in(2) {
            let axis = draw.below(shape.len());
            shape[axis] = draw.pick(&[0, 31, 64, 100, 255, 256, 512, 1000, 1023, 1024, 1025, 2049, 4096]);
        }
        if shape.iter().product::<u64>() <= most as u64 {
            return shape;
        }
    }
}

/// A shape that broadcasts to another.
fn narrowed(draw: &mut Draw, shape: &[u64]) -> Vec<u64> {
    let from = if draw.one_in(2) { draw.below(shape.len() + 1) } else { 0 };
    shape[from..].iter().map(|d| if draw.one_in(3) { 1 } else { *d }).collect()
}

/// A layout with axes in any order, reversed, with gaps, or without a step. In half of all cases it is contiguous.
fn draw_layout(draw: &mut Draw, shape: &[u64], most: usize) -> Layout {
    while !draw.one_in(2) {
        let mut order: Vec<usize> = (0..shape.len()).collect();
        if draw.one_in(2) {
            shuffle(draw, &mut order);
        }
        // The span from the first to the last element of the axes so far.
        let (mut strides, mut span, mut offset) = (vec![0; shape.len()], 1, draw.pick(&[0, 0, 1, 2, 5]));
        for axis in order.into_iter().rev() {
            let stride = if draw.one_in(8) { 0 } else { span + draw.pick(&[0, 0, 0, 0, 1, 3]) };
            let reach = stride * (shape[axis] as i64 - 1).max(0);
            span += reach;
            strides[axis] = stride;
            if draw.one_in(5) {
                strides[axis] = -stride;
                offset += reach;
            }
        }
        let layout = Layout::strided(shape, &strides, offset as u64);
        if layout.is_empty() || layout.extent().is_some_and(|(_, high)| (high as usize) < most) {
            return layout;
        }
    }
    Layout::contiguous(shape)
}

pub fn shuffle(draw: &mut Draw, order: &mut [usize]) {
    for i in (1..order.len()).rev() {
        order.swap(i, draw.below(i + 1));
    }
}

/// Puts operands into one, two or three buffers, in any order, at any element. Then puts some outputs in place of
/// inputs.
fn draw_places(draw: &mut Draw, call: &mut Call) {
    let (upstream, mask, reads) = (call.signature().upstream(), call.signature().mask(), call.reads.len());
    let per_word = call.per_word(false);
    let (buffers, gaps, in_place) = (1 + draw.below(3), draw.pick(&[1, 3, 70]), draw.one_in(2));
    // The end of each buffer in elements of the storage type, and whether its last operand may share its last word.
    let mut ends = [(0_usize, true); 3];
    let mut order: Vec<usize> = (0..reads + call.writes.len()).collect();
    shuffle(draw, &mut order);
    for operand in order {
        let (place, shares, is_mask) = match operand.checked_sub(reads) {
            None => (&mut call.reads[operand], operand <= upstream && !in_place, operand > upstream),
            Some(w) => (&mut call.writes[w], false, mask == Some(w)),
        };
        let Some(place) = place else { continue };
        place.buffer = draw.below(buffers);
        let (end, shared) = &mut ends[place.buffer];
        if !(shares && *shared) {
            *end = end.next_multiple_of(per_word);
        }
        *end += draw.below(gaps);
        if is_mask {
            *end = end.next_multiple_of(per_word);
        }
        let unit = if is_mask { per_word } else { 1 };
        place.start = *end / unit;
        *end += place.len() * unit;
        *shared = shares;
    }
    if !in_place {
        return;
    }
    let mut taken = Vec::new();
    for w in call.outputs.iter().filter(|w| mask != Some(*w)) {
        let over = draw.below(upstream + 1);
        let (Some(read), Some(write)) = (call.reads[over].clone(), call.writes[w].clone()) else { continue };
        if read.layout == write.layout && !taken.contains(&over) && !draw.one_in(4) {
            call.writes[w] = Some(read);
            taken.push(over);
        }
    }
}
