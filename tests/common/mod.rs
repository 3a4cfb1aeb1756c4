//! Code that the tests share: vectors, random inputs, calls, and the comparison of bits.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

pub mod adapters;
pub mod calls;
pub mod expressions;

use std::{ops::Range, sync::LazyLock};

use elemgrad::{
    DType, Op, Output, Outputs, View,
    check::Data,
    gpu,
    half::{bf16, f16},
    ops,
    signature::OutputKind,
    wgpu,
};

/// The inputs of an op and the outputs that they must give, as bits, one vector per operand.
///
/// A mask that is read is words of any bits. A mask that is written is one bit per element.
pub struct Table {
    pub op: &'static Op,
    pub dtype: DType,
    /// The source of the rows: a file or a seed.
    pub source: String,
    pub reads: Vec<Vec<u32>>,
    pub writes: Vec<Vec<u32>>,
}

impl Table {
    pub fn len(&self) -> usize {
        self.reads[0].len()
    }

    /// The inputs and the upstream gradient.
    pub fn rows(&self) -> Vec<&[u32]> {
        self.reads.iter().take(self.op.signature().upstream() + 1).map(Vec::as_slice).collect()
    }
}

/// The exact answers of `tests/data`, one table per op.
pub fn vectors(dtype: DType) -> [Table; 2] {
    let text = |op: &str| {
        let path = format!("{}/tests/data/{op}_{}.csv", env!("CARGO_MANIFEST_DIR"), dtype.name());
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    let source = |op: &str| format!("{op}_{}.csv", dtype.name());
    let [x, z, mask] = columns(&text("spiky"));
    // The file has no upstream gradient; any bits must be copied, a NaN's payload too.
    let mut draw = Draw::new(7);
    let dz = draw.take(x.len(), |draw| draw.bits() >> (32 - 8 * dtype.size()));
    let words = draw.take(x.len().div_ceil(32), Draw::bits);
    let dx = dz.iter().zip(&mask).map(|(dz, mask)| dz * mask).collect();
    let (reads, writes) = (vec![x, dz, words], vec![z, dx, mask]);
    let spiky = Table { op: ops::spiky(), dtype, source: source("spiky"), reads, writes };

    let [x, y, dz, z, q, dy] = columns(&text("mod"));
    let q = q.into_iter().map(|q| dtype.round(f32::from_bits(q))).collect();
    let (reads, writes) = (vec![x, y, dz.clone()], vec![z, dz, dy, q]);
    [spiky, Table { op: ops::modulo(), dtype, source: source("mod"), reads, writes }]
}

/// The columns of a file of hexadecimal numbers with a header line.
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

/// Every ready-made op in every storage type.
pub fn in_every_type() -> impl Iterator<Item = (&'static Op, DType)> {
    ops::mods().iter().flat_map(|op| DType::ALL.iter().map(|dtype| (*op, *dtype)))
}

/// `len` rows of the library's mix of all kinds of data, answered by the scalar reference of the op.
pub fn drawn(op: &'static Op, dtype: DType, len: usize, seed: u64) -> Table {
    drawn_from(Data::Mix, op, dtype, len, seed)
}

/// Rows for calls of any kind: some of the mix, where most sums are NaN, and some of ordinary numbers, where none is.
pub fn tables_for_calls(len: usize, seed: u64) -> Vec<Table> {
    let kinds = [Data::Mix, Data::Ordinary].into_iter();
    kinds
        .flat_map(|data| in_every_type().map(move |(op, dtype)| drawn_from(data, op, dtype, len, seed)))
        .collect()
}

/// `len` rows of one kind of data, answered by the scalar reference of the op.
pub fn drawn_from(data: Data, op: &'static Op, dtype: DType, len: usize, seed: u64) -> Table {
    let mut reads = vec![vec![0.0; len]; op.signature().upstream() + 1];
    data.fill(dtype, seed, 0, &mut reads);
    let mut reads: Vec<Vec<u32>> =
        reads.iter().map(|column| column.iter().map(|v| dtype.round(*v)).collect()).collect();
    let writes = reference(op, dtype, &reads.iter().map(Vec::as_slice).collect::<Vec<_>>());
    reads.extend(op.signature().mask().map(|_| Draw::new(seed).take(len.div_ceil(32), Draw::bits)));
    Table { op, dtype, source: format!("{data:?}, seed {seed}"), reads, writes }
}

/// Elements of a storage type that words hold, as a call reads them.
pub fn view_of(dtype: DType, words: &[u32], range: Range<usize>) -> View<'_> {
    match dtype {
        DType::F32 => View::from(&bytemuck::cast_slice::<_, f32>(words)[range]),
        DType::F16 => View::from(&bytemuck::cast_slice::<_, f16>(words)[range]),
        DType::Bf16 => View::from(&bytemuck::cast_slice::<_, bf16>(words)[range]),
        #[allow(unreachable_patterns, reason = "outside the crate there may be more")]
        other => panic!("no slices of {other:?}"),
    }
}

/// The same, as a call writes them.
pub fn output_of(dtype: DType, words: &mut [u32], range: Range<usize>) -> Output<'_> {
    match dtype {
        DType::F32 => Output::from(&mut bytemuck::cast_slice_mut::<_, f32>(words)[range]),
        DType::F16 => Output::from(&mut bytemuck::cast_slice_mut::<_, f16>(words)[range]),
        DType::Bf16 => Output::from(&mut bytemuck::cast_slice_mut::<_, bf16>(words)[range]),
        #[allow(unreachable_patterns, reason = "outside the crate there may be more")]
        other => panic!("no slices of {other:?}"),
    }
}

/// All outputs of the scalar reference, on bits.
pub fn reference(op: &Op, dtype: DType, reads: &[&[u32]]) -> Vec<Vec<u32>> {
    let signature = op.signature();
    let mut writes = vec![vec![0; reads[0].len()]; signature.write_count()];
    let (mut r, mut w) = (vec![0.0; reads.len()], vec![0.0; writes.len()]);
    for i in 0..reads[0].len() {
        r.iter_mut().zip(reads).for_each(|(r, column)| *r = dtype.widen(column[i]));
        op.reference(dtype, &r, &mut w);
        for ((column, w), output) in writes.iter_mut().zip(&w).zip(signature.outputs()) {
            column[i] = if output.kind == OutputKind::Mask { u32::from(*w != 0.0) } else { dtype.round(*w) };
        }
    }
    writes
}

/// An op whose kernels compute something other than its reference: `edit` changes each of its WGSL expressions, and
/// `functions` are added.
///
/// # Errors
/// The error of the library, and an edit that changes nothing: a test that must see the edit would see nothing.
pub fn edited(op: &Op, edit: impl Fn(&str) -> String, functions: &[&str]) -> Result<Op, String> {
    let text = |error: elemgrad::Error| error.to_string();
    if op.with_wgsl(&edit, &[]).map_err(text)?.signature() == op.signature() {
        return Err(format!("no WGSL of {} is edited", op.name()));
    }
    op.with_wgsl(edit, functions).map_err(text)
}

/// Every non-empty set of the op's outputs.
pub fn output_sets(op: &Op) -> Vec<Outputs> {
    let count = op.signature().write_count();
    (1..1_u32 << count).map(|set| Outputs::present((0..count).map(|w| set >> w & 1 == 1))).collect()
}

/// Lengths around every boundary of a kernel: vec4, workgroup, the elements of a workgroup, a few workgroups.
pub const LENGTHS: [usize; 16] = [0, 1, 2, 3, 4, 5, 7, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097];

/// Whether everything runs that the tests can do: with `ELEMGRAD_TESTS=full`, and where there is a hardware GPU.
///
/// Software adapters take seconds to compile a kernel. Without `full`, each suite still runs every kind of check, but
/// on fewer calls, elements, ops and ways to share buffers.
pub fn is_full() -> bool {
    static FULL: LazyLock<bool> = LazyLock::new(|| {
        let is_hardware = |adapter: &wgpu::Adapter| !gpu::is_software(&adapter.get_info());
        std::env::var("ELEMGRAD_TESTS").is_ok_and(|value| value == "full")
            || pollster::block_on(gpu::adapters()).iter().any(is_hardware)
    });
    *FULL
}

/// Compares one output: its length, then the bits of every element.
///
/// # Errors
/// The first difference, with the inputs of its row, and the number of differences.
pub fn compare(
    what: &str,
    op: &Op,
    write: usize,
    reads: &[&[u32]],
    got: &[u32],
    want: &[u32],
) -> Result<(), String> {
    let (op, output) = (op.signature(), op.signature().outputs()[write].name.to_string());
    if got.len() != want.len() {
        return Err(format!("{what}: {} {output} has {} elements, not {}", op.name(), got.len(), want.len()));
    }
    let mut wrong = (0..got.len()).filter(|&i| got[i] != want[i]);
    let Some(i) = wrong.next() else { return Ok(()) };
    let inputs: Vec<_> =
        op.read_names().zip(reads).map(|(name, column)| format!("{name} = 0x{:x}", column[i])).collect();
    Err(format!(
        "{what}: {} {output}[{i}] is 0x{:x}, not 0x{:x}, of {} ({} of {} are wrong)",
        op.name(),
        got[i],
        want[i],
        inputs.join(", "),
        1 + wrong.count(),
        got.len(),
    ))
}

/// The bits reinterpreted as f32.
pub fn floats(bits: &[u32]) -> &[f32] {
    bytemuck::cast_slice(bits)
}

/// The bits of f32.
pub fn bits(floats: &[f32]) -> &[u32] {
    bytemuck::cast_slice(floats)
}

/// Choices drawn from a seed.
pub struct Draw(fastrand::Rng);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// True in one of `n` cases, on average.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn take(&mut self, len: usize, one: impl Fn(&mut Self) -> u32) -> Vec<u32> {
        (0..len).map(|_| one(self)).collect()
    }

    /// Any bit pattern.
    pub fn bits(&mut self) -> u32 {
        self.0.u32(..)
    }
}
