//! Compares blocks with the reference, on every instruction set of the machine, through the caches and past them.

use crate::{
    call::slice::Slice,
    check::{column::Column, data::Data},
    cpu::{Call, STRETCH, block::Block, compute::Compute, simd::Level},
    dtype::DType,
    numeric::sum,
    op::Op,
    ops,
    signature::outputs::Outputs,
};

/// The reference's results for elements of a storage type, by output number.
fn expected(op: &Op, dtype: DType, reads: &[Column], len: usize) -> Vec<Column> {
    let mut writes = vec![vec![0.0; len]; op.signature().write_count()];
    let mut of_one = vec![0.0; writes.len()];
    for i in 0..len {
        let read: Vec<f32> = reads.iter().map(|read| read.slice().get(i)).collect();
        op.reference(dtype, &read, &mut of_one);
        writes.iter_mut().zip(&of_one).for_each(|(write, value)| write[i] = *value);
    }
    let kind = |w| Some(dtype).filter(|_| op.signature().mask() != Some(w));
    writes.iter().enumerate().map(|(w, values)| Column::of(kind(w), values)).collect()
}

/// Every 16-bit element as `x`, or as many f32 of all kinds. The other operands are random.
fn operands(op: &Op, dtype: DType) -> Vec<Column> {
    const LEN: usize = 1 << 16;
    let mut values = vec![vec![0.0; LEN]; op.signature().upstream() + 1];
    Data::Mix.fill(dtype, 3, 0, &mut values);
    if dtype != DType::F32 {
        (0..).zip(&mut values[0]).for_each(|(bits, x)| *x = dtype.widen(bits));
    }
    values.iter().map(|values| Column::of(Some(dtype), values)).collect()
}

/// Runs the elements from `start` on, and returns how many elements of an output are wrong.
fn wrong(level: Level, op: &Op, dtype: DType, reads: &[Column], wanted: Outputs, at: [usize; 2]) -> usize {
    let [start, len] = at;
    let part =
        |column: &Column| -> Vec<f32> { (start..start + len).map(|i| column.slice().get(i)).collect() };
    let columns: Vec<Column> = reads.iter().map(|read| Column::of(Some(dtype), &part(read))).collect();
    let expected = expected(op, dtype, &columns, len);
    let needed = op.signature().reads_for(wanted, false);
    let slices: Vec<Option<Slice>> = (0..reads.len())
        .map(|r| needed.contains(&r).then(|| reads[r].slice().elements(start..start + len)))
        .collect();
    [false, true]
        .into_iter()
        .map(|past_caches| {
            // Outputs begin anywhere in a cache line.
            let zeros = |w: usize| match op.signature().mask() {
                Some(mask) if mask == w => Column::zeros(None, len),
                _ => Column::zeros(Some(dtype), len + start % 64),
            };
            let mut got: Vec<Column> = (0..expected.len()).map(zeros).collect();
            let mut writes: Vec<_> = got
                .iter_mut()
                .enumerate()
                .map(|(w, column)| {
                    let is_mask = matches!(column, Column::Bits(..));
                    wanted.contains(w).then(|| {
                        let all = column.slice_mut();
                        if is_mask { all } else { all.behind(start % 64) }
                    })
                })
                .collect();
            let block = Block { level, stored: dtype, past_caches, ..Block::new(len, &slices, &mut writes) };
            op.block(dtype, block);
            drop(writes);
            wanted
                .iter()
                .map(|w| {
                    let skip = if matches!(got[w], Column::Bits(..)) { 0 } else { start % 64 };
                    let bits = |column: &Column, i: usize| column.bits(i);
                    (0..len).filter(|i| bits(&got[w], i + skip) != bits(&expected[w], *i)).count()
                })
                .sum::<usize>()
        })
        .sum()
}

#[test]
fn every_level_gives_the_same_bits() {
    for level in Level::all() {
        for &op in ops::mods() {
            for &dtype in DType::ALL {
                let reads = operands(op, dtype);
                let sets = 1..1_u32 << op.signature().write_count();
                for set in sets {
                    let wanted = Outputs::present((0..16).map(|w| set >> w & 1 == 1));
                    let at = [[0, 1 << 16]].into_iter();
                    let few = [0, 1, 31, 127, 128, 129, 300].into_iter().zip([7, 0, 33, 1, 12, 63, 30]);
                    for at in at.chain(few.map(|(len, start)| [start, len])) {
                        let wrong = wrong(level, op, dtype, &reads, wanted, at);
                        assert_eq!(wrong, 0, "{level:?} {} {dtype:?} {wanted:?} {at:?}", op.name());
                    }
                }
            }
        }
    }
}

/// A call that bypasses the caches, cut into stretches, gives the same as one element after the other: with its mask,
/// added to existing values, and from the mask.
#[test]
fn stretches_past_the_caches_give_the_same_bits() {
    const LEN: usize = 2 * STRETCH + 777;
    let spiky = ops::spiky();
    for &dtype in DType::ALL {
        let mut values = vec![vec![0.0; LEN + 5]; 2];
        Data::Ordinary.fill(dtype, 9, 0, &mut values);
        let [x, dz] = [0, 1].map(|i| Column::of(Some(dtype), &values[i][5..]));
        let [z, dx, mask] =
            expected(spiky, dtype, &[x.clone(), dz.clone()], LEN).try_into().expect("three outputs");
        let added = (0..LEN).map(|i| match mask.bits(i) {
            0 => 1.5,
            _ => sum(1.5, dx.slice().get(i)),
        });
        let added = Column::of(Some(dtype), &added.collect::<Vec<_>>());

        let dx_added = Outputs::gradient(0);
        let call = Call { op: spiky, storage: dtype, from_mask: false, added: dx_added, past_caches: true };
        let old = Column::of(Some(dtype), &vec![1.5; LEN + 3]);
        let (mut got_z, mut got_dx, mut got_mask) = (old.clone(), old.clone(), Column::zeros(None, LEN));
        let reads = [Some(x.slice()), Some(dz.slice())];
        let mut writes =
            [got_z.slice_mut().behind(3), got_dx.slice_mut().behind(3), got_mask.slice_mut()].map(Some);
        call.fork(LEN, &reads, &mut writes);
        let bits = |column: &Column, skip: usize| (0..LEN).map(|i| column.bits(i + skip)).collect::<Vec<_>>();
        assert!(bits(&got_z, 3) == bits(&z, 0), "z in {dtype:?}");
        assert!(bits(&got_dx, 3) == bits(&added, 0), "dx += in {dtype:?}");
        assert!(bits(&got_mask, 0) == bits(&mask, 0), "mask in {dtype:?}");

        for (outputs, right) in [(Outputs::NONE, &dx), (dx_added, &added)] {
            let mut got = old.clone();
            let reads = [None, Some(dz.slice()), Some(mask.slice())];
            let mut writes = [None, Some(got.slice_mut().behind(3)), None];
            Call { from_mask: true, added: outputs, ..call }.fork(LEN, &reads, &mut writes);
            assert!(bits(&got, 3) == bits(right, 0), "dx from the mask, {outputs:?} in {dtype:?}");
        }
    }
}
