//! Blocks on every set of instructions that the machine has, through the caches and past them, against the reference.

use crate::{
    DType, Op, Outputs,
    cpu::{block::Block, simd::Level},
    data::Data,
    host::{Column, Slice},
    op::BUILT_IN,
};

/// What the reference gives for elements of a storage type, outputs by number.
fn expected(op: &dyn Op, dtype: DType, reads: &[Column], len: usize) -> Vec<Column> {
    let mut writes = vec![vec![0.0; len]; op.definition().write_count()];
    let mut of_one = vec![0.0; writes.len()];
    for i in 0..len {
        let read: Vec<f32> = reads.iter().map(|read| read.slice().get(i)).collect();
        op.reference(dtype, &read, &mut of_one);
        writes.iter_mut().zip(&of_one).for_each(|(write, value)| write[i] = *value);
    }
    let kind = |w| Some(dtype).filter(|_| op.definition().mask() != Some(w));
    writes.iter().enumerate().map(|(w, values)| Column::of(kind(w), values)).collect()
}

/// Every element of 16 bits as `x`, or as many f32 of all kinds, and others beside them.
fn operands(op: &dyn Op, dtype: DType) -> Vec<Column> {
    const LEN: usize = 1 << 16;
    let mut values = vec![vec![0.0; LEN]; op.definition().upstream() + 1];
    Data::Mix.fill(dtype, 3, 0, &mut values);
    if dtype != DType::F32 {
        (0..).zip(&mut values[0]).for_each(|(bits, x)| *x = dtype.widen(bits));
    }
    values.iter().map(|values| Column::of(Some(dtype), values)).collect()
}

/// Runs the elements from `start` on, and returns how many of an output are wrong.
fn wrong(
    level: Level,
    op: &dyn Op,
    dtype: DType,
    reads: &[Column],
    wanted: Outputs,
    at: [usize; 2],
) -> usize {
    let [start, len] = at;
    let part =
        |column: &Column| -> Vec<f32> { (start..start + len).map(|i| column.slice().get(i)).collect() };
    let columns: Vec<Column> = reads.iter().map(|read| Column::of(Some(dtype), &part(read))).collect();
    let expected = expected(op, dtype, &columns, len);
    let needed = op.definition().reads_for(wanted, false);
    let slices: Vec<Option<Slice>> = (0..reads.len())
        .map(|r| needed.contains(&r).then(|| reads[r].slice().elements(start..start + len)))
        .collect();
    [false, true]
        .into_iter()
        .map(|past_caches| {
            // Outputs begin anywhere in a line.
            let zeros = |w: usize| match op.definition().mask() {
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
            op.cpu(dtype, block);
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
        for op in BUILT_IN {
            for dtype in DType::ALL {
                let reads = operands(op, dtype);
                let sets = 1..1_u32 << op.definition().write_count();
                for set in sets {
                    let wanted = Outputs::present((0..16).map(|w| set >> w & 1 == 1));
                    let at = [[0, 1 << 16]].into_iter().filter(|_| set.is_power_of_two());
                    let few = [0, 1, 31, 127, 128, 129, 300].into_iter().zip([7, 0, 33, 1, 12, 63, 30]);
                    for at in at.chain(few.map(|(len, start)| [start, len])) {
                        let wrong = wrong(level, op, dtype, &reads, wanted, at);
                        assert_eq!(
                            wrong,
                            0,
                            "{level:?} {} {dtype:?} {wanted:?} {at:?}",
                            op.definition().name
                        );
                    }
                }
            }
        }
    }
}
