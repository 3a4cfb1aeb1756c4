//! The scalar reference against the vectors, and the CPU path against the scalar reference.

mod common;

use std::ops::ControlFlow;

use common::{Table, bits, compare, drawn, floats, output_sets, vectors};
use elemgrad::{
    Args, Error, Op, Outputs, Runner, modulo,
    op::{BUILT_IN, Definition, Pass},
    spiky,
    verify::{Inputs, verify},
};

/// Runs one call of the table's rows and compares the wanted outputs.
fn check(runner: &Runner, table: &Table, len: usize, outputs: Outputs) -> Result<(), String> {
    let reads: Vec<&[u32]> = table.reads.iter().map(|column| &column[..len]).collect();
    let mut writes = vec![Vec::new(); table.writes.len()];
    runner
        .run(Args {
            op: table.op,
            reads: reads.iter().copied().map(|bits| Some(floats(bits))).collect(),
            writes: writes.iter_mut().enumerate().map(|(i, w)| outputs.contains(i).then_some(w)).collect(),
        })
        .map_err(|e| e.to_string())?;
    let what = format!("{}, {}, {outputs:?}", runner.name(), table.source);
    for i in outputs.iter() {
        compare(&what, table.op, i, &reads, bits(&writes[i]), &table.writes[i][..len])?;
    }
    Ok(())
}

#[test]
fn reference_and_cpu_path_agree_with_every_vector() -> Result<(), String> {
    for runner in [Runner::reference(), Runner::cpu()] {
        for table in vectors() {
            for outputs in output_sets(table.op) {
                check(&runner, &table, table.len(), outputs)?;
            }
        }
    }
    Ok(())
}

#[test]
fn quotient_agrees_with_every_vector() {
    let [x, y, _, _, q, _] = common::columns(include_str!("data/mod_f32.csv"));
    for i in 0..x.len() {
        let (x, y) = (f32::from_bits(x[i]), f32::from_bits(y[i]));
        assert_eq!(modulo::quotient(x, y).to_bits(), q[i], "quotient({x:e}, {y:e})");
    }
}

#[test]
fn the_scalar_functions_are_the_reference() {
    for table in vectors() {
        for i in (0..table.len()).step_by(7) {
            let [reads, writes] = [&table.reads, &table.writes]
                .map(|columns| columns.iter().map(|c| f32::from_bits(c[i])).collect::<Vec<_>>());
            let (forward, backward, fused) = match reads[..] {
                [x, dz] => {
                    let (z, dx) = spiky::fused(x, dz);
                    (spiky::forward(x), vec![spiky::backward(x, dz)], vec![z, dx])
                }
                [x, y, dz] => {
                    let (z, (dx, dy)) = modulo::fused(x, y, dz);
                    let (bx, by) = modulo::backward(x, y, dz);
                    (modulo::forward(x, y), vec![bx, by], vec![z, dx, dy])
                }
                _ => panic!("an op of {} reads", reads.len()),
            };
            assert_eq!(forward.to_bits(), writes[0].to_bits(), "{reads:?}");
            assert_eq!(bits(&backward), bits(&writes[1..]), "{reads:?}");
            assert_eq!(bits(&fused), bits(&writes), "{reads:?}");
        }
    }
}

/// What the questions that asked for these ops print.
#[test]
fn the_original_prints_these_numbers() -> Result<(), Error> {
    let runner = Runner::cpu();
    let x: &[f32] = &[0.2, 0.7, 1.2, 1.7];
    let (z, gradients) = runner.fused(&spiky::Spiky, &[x], &[1.0; 4])?;
    assert_eq!(bits(&z), bits(&[0.2, 0.0, 0.20000005, 0.0]));
    assert_eq!(gradients, [[1.0, 0.0, 1.0, 0.0]]);

    let (x, y): (&[f32], &[f32]) = (&[0.3, 0.7, 1.2, 1.7], &[0.2, 0.5, 1.0, 2.9]);
    let (z, gradients) = runner.fused(&modulo::Mod, &[x, y], &[1.0; 4])?;
    assert_eq!(format!("{z:?}"), "[0.10000001, 0.19999999, 0.20000005, 1.7]");
    assert_eq!(format!("{gradients:?}"), "[[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -0.0]]");
    Ok(())
}

#[test]
fn the_cpu_path_agrees_with_the_reference_on_drawn_rows() -> Result<(), String> {
    for op in BUILT_IN {
        for seed in 1..=2 {
            let table = drawn(op, 1 << 20, seed);
            check(&Runner::cpu(), &table, table.len(), op.definition().outputs(Pass::Fused))?;
        }
    }
    Ok(())
}

/// Every exponent of y against every distance of exponents, with fractions that make the quotient's rounding hard.
#[test]
fn the_cpu_path_agrees_with_the_reference_at_every_pair_of_exponents() -> Result<(), String> {
    const FRACTIONS: [u32; 6] = [0, 1, 0x3f_ffff, 0x40_0000, 0x55_5555, 0x7f_ffff];
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for ex in 0..=255_u32 {
        for ey in 0..=255_u32 {
            for i in 0..FRACTIONS.len() {
                let sign = (ex ^ ey ^ i as u32) << 31;
                x.push(ex << 23 | FRACTIONS[i]);
                y.push(ey << 23 | FRACTIONS[(i * 5 + ey as usize) % FRACTIONS.len()] | sign);
            }
        }
    }
    let dz = vec![0x3f80_0001; x.len()];
    let writes = common::reference(&modulo::Mod, &[&x, &y, &dz]);
    let table =
        Table { op: &modulo::Mod, source: "every pair of exponents".into(), reads: vec![x, y, dz], writes };
    check(&Runner::cpu(), &table, table.len(), Outputs::Z | Outputs::gradient(1))
}

/// The CPU path cuts a call into blocks of 16 Ki elements.
#[test]
fn the_cpu_path_is_right_around_its_blocks() -> Result<(), String> {
    const BLOCK: usize = 16 * 1024;
    for op in BUILT_IN {
        let table = drawn(op, 3 * BLOCK + 1, 3);
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1, 3 * BLOCK + 1] {
            for outputs in output_sets(op) {
                check(&Runner::cpu(), &table, len, outputs)?;
            }
        }
    }
    Ok(())
}

/// `Op::cpu` may be given empty slices for what the wanted outputs do not need.
#[test]
fn the_block_function_needs_only_what_the_outputs_need() -> Result<(), String> {
    for op in BUILT_IN {
        let table = drawn(op, 1000, 4);
        let columns: Vec<&[u32]> = table.reads.iter().map(Vec::as_slice).collect();
        for outputs in output_sets(op) {
            let needed = op.definition().reads_for(outputs);
            let reads: Vec<&[f32]> = (0..columns.len())
                .map(|i| if needed.contains(&i) { floats(columns[i]) } else { &[][..] })
                .collect();
            let mut writes = vec![vec![0.0; table.len()]; table.writes.len()];
            let mut wanted: Vec<_> = writes
                .iter_mut()
                .enumerate()
                .map(|(i, w)| outputs.contains(i).then_some(w.as_mut_slice()))
                .collect();
            op.cpu(&reads, &mut wanted);
            for i in outputs.iter() {
                compare("Op::cpu", op, i, &columns, bits(&writes[i]), &table.writes[i])?;
            }
        }
    }
    Ok(())
}

/// The comparison sees what it must: otherwise no other test means anything.
#[test]
fn the_comparison_can_fail() {
    let op: &dyn Op = &modulo::Mod;
    let table = drawn(op, 1000, 5);
    let reads: Vec<&[u32]> = table.reads.iter().map(Vec::as_slice).collect();
    let right = &table.writes[0];
    let fails = |got: &[u32]| compare("a wrong result", op, 0, &reads, got, right).unwrap_err();
    assert_eq!(compare("", op, 0, &reads, right, right), Ok(()));

    let ordinary = right.iter().position(|z| f32::from_bits(*z).is_normal()).expect("a number");
    let mut one_bit = right.clone();
    one_bit[ordinary] ^= 1;
    let message = fails(&one_bit);
    let expected = format!("z[{ordinary}] is 0x{:08x}", one_bit[ordinary]);
    assert!(message.contains(&expected) && message.contains("1 of 1000"), "{message}");

    let mut nan = right.clone();
    nan[ordinary] = 0x7fc0_0000;
    fails(&nan);
    // A NaN of other bits where a NaN is right, and a zero of the other sign.
    for wanted in [0x7fc0_0000, 0] {
        let mut got = right.clone();
        let i = right.iter().position(|z| *z == wanted).expect("a NaN and a zero");
        got[i] ^= 0x8000_0000;
        fails(&got);
    }
    assert!(fails(&right[..999]).contains("999 elements, not 1000"));
    assert!(fails(&[]).contains("0 elements"));
    fails(&vec![0; right.len()]);
    assert!(compare("swapped gradients", op, 1, &reads, &table.writes[2], &table.writes[1]).is_err());
}

/// `mod`, with something wrong in what its CPU path has computed.
struct Wrong(fn(&mut [Option<&mut [f32]>]));

impl Op for Wrong {
    fn definition(&self) -> &Definition {
        modulo::Mod.definition()
    }

    fn reference(&self, reads: &[f32], writes: &mut [f32]) {
        modulo::Mod.reference(reads, writes);
    }

    fn cpu(&self, reads: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
        modulo::Mod.cpu(reads, writes);
        self.0(writes);
    }
}

/// The exclusive or of two inputs, whose gradients are both the upstream gradient.
struct Xor(Definition);

impl Op for Xor {
    fn definition(&self) -> &Definition {
        &self.0
    }

    fn reference(&self, reads: &[f32], writes: &mut [f32]) {
        writes.copy_from_slice(&[
            f32::from_bits(reads[0].to_bits() ^ reads[1].to_bits()),
            reads[2],
            reads[2],
        ]);
    }
}

/// An op of which every gradient is an alias can be verified, alone and in company.
#[test]
fn aliases_alone_are_verified() -> Result<(), Error> {
    let definition = modulo::Mod.definition().clone();
    let op = Xor(Definition { name: "xor", z: "x ^ y", gradients: &["dz", "dz"], ..definition });
    for inputs in [Inputs::Sample { count: 1000, seed: 7 }, Inputs::Given(vec![vec![1.5]; 3])] {
        let report = verify(&Runner::cpu(), &op, &inputs, &Pass::ALL, &mut |_| ControlFlow::Continue(()))?;
        assert_eq!((report.checked, report.mismatches), (inputs.count(), 0));
    }
    let none = verify(&Runner::cpu(), &op, &Inputs::Given(vec![vec![]; 3]), &Pass::ALL, &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(none.is_err(), "no elements are no success");
    Ok(())
}

/// `verify`, on which the exhaustive checks stand, sees what it must too.
#[test]
fn verify_can_fail() -> Result<(), Error> {
    let mismatches = |op: Wrong, pass| {
        let inputs = Inputs::Sample { count: 1000, seed: 6 };
        let report = verify(&Runner::cpu(), &op, &inputs, &[pass], &mut |_| ControlFlow::Continue(()))?;
        assert_eq!(report.checked, 1000);
        assert_eq!(report.first.is_empty(), report.mismatches == 0, "mismatches are shown");
        Ok::<_, Error>(report.mismatches)
    };
    for pass in Pass::ALL {
        assert_eq!(mismatches(Wrong(|_| {}), pass)?, 0);
        let one_bit = Wrong(|writes| {
            for write in writes.iter_mut().flatten() {
                let last = write.len() - 1;
                write[last] = f32::from_bits(write[last].to_bits() ^ 1);
            }
        });
        // One in each of the eight chunks, which take turns in length and outputs.
        assert_eq!(mismatches(one_bit, pass)?, 8, "{}", pass.name());
        let nothing = Wrong(|writes| writes.iter_mut().flatten().for_each(|w| w.fill(0.0)));
        assert!(mismatches(nothing, pass)? > 500);
        let unwritten =
            Wrong(|writes| writes.iter_mut().flatten().for_each(|w| w.fill(f32::from_bits(0xffed_cba9))));
        assert_eq!(mismatches(unwritten, pass)?, 1000);
    }
    let swapped = Wrong(|writes| {
        let [_, Some(dx), Some(dy)] = writes else { return };
        dx.swap_with_slice(dy);
    });
    // Half of the chunks write dx.
    assert!(mismatches(swapped, Pass::Backward)? > 250);
    let none =
        verify(&Runner::cpu(), &modulo::Mod, &Inputs::Exhaustive, &[], &mut |_| ControlFlow::Continue(()));
    assert!(none.is_err(), "no passes are no success");
    Ok(())
}
