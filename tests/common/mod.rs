//! What the tests share: vectors, drawn inputs, and the comparison on bits.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

use elemgrad::{Op, Outputs, data::Data, modulo::Mod, spiky::Spiky};

/// Inputs of an op and the outputs that they must give, operand by operand, as bits.
pub struct Table {
    pub op: &'static dyn Op,
    /// Where the rows come from: a file or a seed.
    pub source: String,
    pub reads: Vec<Vec<u32>>,
    pub writes: Vec<Vec<u32>>,
}

impl Table {
    pub fn len(&self) -> usize {
        self.reads[0].len()
    }
}

/// The exact answers of `tests/data`, a table for each op.
pub fn vectors() -> [Table; 2] {
    let [x, z, mask] = columns(include_str!("../data/spiky_f32.csv"));
    // The file has no upstream gradient; any bits must be copied, a NaN's payload too.
    let dz = Draw::new(7).take(x.len(), Draw::bits);
    let dx = dz.iter().zip(&mask).map(|(dz, mask)| dz * mask).collect();
    let spiky = Table { op: &Spiky, source: "spiky_f32.csv".into(), reads: vec![x, dz], writes: vec![z, dx] };

    let [x, y, dz, z, _, dy] = columns(include_str!("../data/mod_f32.csv"));
    let dx = dz.clone();
    let source = "mod_f32.csv".into();
    [spiky, Table { op: &Mod, source, reads: vec![x, y, dz], writes: vec![z, dx, dy] }]
}

/// The columns of a file of hexadecimal numbers with a line of headings.
pub fn columns<const N: usize>(csv: &str) -> [Vec<u32>; N] {
    let mut columns = [const { Vec::new() }; N];
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), N, "{line}");
        for (column, field) in columns.iter_mut().zip(fields) {
            column.push(u32::from_str_radix(field, 16).expect("a hexadecimal number"));
        }
    }
    assert!(columns[0].len() > 1000, "the file is cut off");
    columns
}

/// `len` rows of the library's mix of everything, answered by the op's scalar reference.
pub fn drawn(op: &'static dyn Op, len: usize, seed: u64) -> Table {
    let mut reads = vec![vec![0.0; len]; op.definition().read_count()];
    Data::Mix.fill(seed, 0, &mut reads);
    let reads: Vec<_> = reads.iter().map(|column| bits(column).to_vec()).collect();
    let writes = reference(op, &reads.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Table { op, source: format!("Data::Mix, seed {seed}"), reads, writes }
}

/// All outputs of the scalar reference, on bits.
pub fn reference(op: &dyn Op, reads: &[&[u32]]) -> Vec<Vec<u32>> {
    let mut writes = vec![vec![0; reads[0].len()]; op.definition().write_count()];
    let (mut r, mut w) = (vec![0.0; reads.len()], vec![0.0; writes.len()]);
    for i in 0..reads[0].len() {
        r.iter_mut().zip(reads).for_each(|(r, column)| *r = f32::from_bits(column[i]));
        op.reference(&r, &mut w);
        writes.iter_mut().zip(&w).for_each(|(column, w)| column[i] = w.to_bits());
    }
    writes
}

/// Every non-empty set of the op's outputs.
pub fn output_sets(op: &dyn Op) -> Vec<Outputs> {
    let count = op.definition().write_count();
    (1..1_u32 << count).map(|set| Outputs::present((0..count).map(|w| set >> w & 1 == 1))).collect()
}

/// Lengths around every boundary of a kernel: vec4, workgroup, elements of a workgroup, some workgroups.
pub const LENGTHS: [usize; 16] = [0, 1, 2, 3, 4, 5, 7, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097];

/// Compares one output: the length, then every element, on bits.
///
/// # Errors
/// The first difference, with the row's inputs, and how many there are.
pub fn compare(
    what: &str,
    op: &dyn Op,
    write: usize,
    reads: &[&[u32]],
    got: &[u32],
    want: &[u32],
) -> Result<(), String> {
    let (op, output) = (op.definition(), &op.definition().write_names()[write]);
    if got.len() != want.len() {
        return Err(format!("{what}: {} {output} has {} elements, not {}", op.name, got.len(), want.len()));
    }
    let mut wrong = (0..got.len()).filter(|&i| got[i] != want[i]);
    let Some(i) = wrong.next() else { return Ok(()) };
    let inputs: Vec<_> =
        op.read_names().zip(reads).map(|(name, column)| format!("{name} = {}", show(column[i]))).collect();
    Err(format!(
        "{what}: {} {output}[{i}] is {}, not {}, of {} ({} of {} are wrong)",
        op.name,
        show(got[i]),
        show(want[i]),
        inputs.join(", "),
        1 + wrong.count(),
        got.len(),
    ))
}

fn show(bits: u32) -> String {
    format!("0x{bits:08x} ({:e})", f32::from_bits(bits))
}

/// The same bits as f32.
pub fn floats(bits: &[u32]) -> &[f32] {
    bytemuck::cast_slice(bits)
}

/// The bits of f32.
pub fn bits(floats: &[f32]) -> &[u32] {
    bytemuck::cast_slice(floats)
}

/// Choices drawn from a seed (`SplitMix64`).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn take(&mut self, len: usize, one: impl Fn(&mut Self) -> u32) -> Vec<u32> {
        (0..len).map(|_| one(self)).collect()
    }

    /// Any bit pattern.
    pub fn bits(&mut self) -> u32 {
        self.next() as u32
    }
}
