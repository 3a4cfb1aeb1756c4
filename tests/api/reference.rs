//! The scalar reference against the vectors, and the CPU path against the scalar reference.

use std::ops::ControlFlow;

use crate::common::{
    Draw, Table, bits,
    calls::{Call, draw_call, tree},
    compare, drawn, output_sets, tables_for_calls, vectors,
};
use elemgrad::{
    Args, DType, Error, Layout, Op, Output, Outputs, Pass, Runner, View,
    check::{Data, Inputs, verify},
    ops::{self, modulo, spiky},
    signature::Signature,
};

/// Runs one call on the first rows of a table and compares the wanted outputs.
fn check(runner: &Runner, table: &Table, len: usize, outputs: Outputs) -> Result<(), String> {
    Call::apart(table, len, outputs, |i| i % 3).check_on_host(runner)
}

/// The scalar reference is what everything else is compared with.
#[test]
fn the_reference_agrees_with_every_vector() -> Result<(), String> {
    for &dtype in DType::ALL {
        for Table { op, source, reads, writes, .. } in &vectors(dtype) {
            let reads: Vec<&[u32]> =
                reads.iter().take(op.signature().upstream() + 1).map(Vec::as_slice).collect();
            for (w, got) in crate::common::reference(op, dtype, &reads).iter().enumerate() {
                compare(source, op, w, &reads, got, &writes[w])?;
            }
        }
    }
    Ok(())
}

#[test]
fn runners_agree_with_every_vector() -> Result<(), String> {
    for runner in [Runner::reference(), Runner::cpu()] {
        for table in DType::ALL.iter().flat_map(|dtype| vectors(*dtype)) {
            for outputs in output_sets(table.op) {
                check(&runner, &table, table.len(), outputs)?;
            }
        }
    }
    Ok(())
}

#[test]
fn quotient_agrees_with_every_vector() {
    let [x, y, _, _, q, _] = crate::common::columns(include_str!("../data/mod_f32.csv"));
    for i in 0..x.len() {
        let (x, y) = (f32::from_bits(x[i]), f32::from_bits(y[i]));
        assert_eq!(modulo::quotient(x, y).to_bits(), q[i], "quotient({x:e}, {y:e})");
    }
}

#[test]
fn the_scalar_functions_are_the_reference() {
    for table in vectors(DType::F32) {
        for i in (0..table.len()).step_by(7) {
            let reads: Vec<f32> = table.rows().iter().map(|c| f32::from_bits(c[i])).collect();
            let writes: Vec<f32> = table.writes.iter().map(|c| f32::from_bits(c[i])).collect();
            let (forward, backward, fused) = match (table.op.name(), &reads[..]) {
                ("spiky", &[x, dz]) => {
                    let (z, dx) = spiky::fused(x, dz);
                    (spiky::forward(x), vec![spiky::backward(x, dz)], vec![z, dx])
                }
                ("mod", &[x, y, dz]) => {
                    let (z, (dx, dy)) = modulo::fused(x, y, dz);
                    let (bx, by) = modulo::backward(x, y, dz);
                    (modulo::forward(x, y), vec![bx, by], vec![z, dx, dy])
                }
                (op, reads) => panic!("{op} of {} reads", reads.len()),
            };
            assert_eq!(forward.to_bits(), writes[0].to_bits(), "{reads:?}");
            assert_eq!(bits(&backward), bits(&writes[1..fused.len()]), "{reads:?}");
            assert_eq!(bits(&fused), bits(&writes[..fused.len()]), "{reads:?}");
        }
    }
}

/// The numbers that the questions behind these ops print.
#[test]
fn the_original_prints_these_numbers() -> Result<(), Error> {
    let runner = Runner::cpu();
    let x: &[f32] = &[0.2, 0.7, 1.2, 1.7];
    let (z, gradients) = runner.fused(ops::spiky(), &[x], &[1.0; 4])?;
    assert_eq!(bits(&z), bits(&[0.2, 0.0, 0.20000005, 0.0]));
    assert_eq!(gradients, [[1.0, 0.0, 1.0, 0.0]]);

    let (x, y): (&[f32], &[f32]) = (&[0.3, 0.7, 1.2, 1.7], &[0.2, 0.5, 1.0, 2.9]);
    let (z, gradients) = runner.fused(ops::modulo(), &[x, y], &[1.0; 4])?;
    assert_eq!(format!("{z:?}"), "[0.10000001, 0.19999999, 0.20000005, 1.7]");
    assert_eq!(format!("{gradients:?}"), "[[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -0.0]]");
    Ok(())
}

#[test]
fn the_cpu_path_agrees_with_the_reference_on_drawn_rows() -> Result<(), String> {
    for &op in ops::mods() {
        for &dtype in DType::ALL {
            let table = drawn(op, dtype, 1 << 19, 1);
            check(&Runner::cpu(), &table, table.len(), op.signature().all_outputs(Pass::Fused))?;
        }
    }
    Ok(())
}

/// Shapes that broadcast, strides, sums, masks that are read, gradients that are accumulated.
#[test]
fn runners_agree_with_the_definitions_on_drawn_calls() -> Result<(), String> {
    let tables = tables_for_calls(20_000, 8);
    let mut draw = Draw::new(9);
    for _ in 0..1500 {
        let call = draw_call(&mut draw, &tables);
        for runner in [Runner::reference(), Runner::cpu()] {
            call.check_on_host(&runner)?;
        }
    }
    Ok(())
}

/// Gradients of broadcast inputs follow the signature, whatever the number of threads.
#[test]
fn sums_are_the_tree_of_their_shape() {
    let len = 1_000_000;
    let mut values = vec![vec![0.0; len]; 2];
    Data::Ordinary.fill(DType::F32, 35, 0, &mut values);
    let dz = &values[1];
    let (one, mut of_threads) = ([1.0_f32], Vec::new());
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        for (columns, own) in [
            (1, vec![]),
            (1, vec![1]),
            (1000, vec![1000]),
            (1000, vec![1000, 1]),
            (8, vec![8]),
            (400, vec![2500, 1]),
            (999, vec![1, 999]),
        ] {
            // Shapes of a multiple of `columns` elements, summed by columns or by rows.
            let rows = len / columns;
            let shape = [rows as u64, columns as u64];
            let (mut dx, x) = (Vec::<f32>::new(), Layout::strided(&own, &vec![0; own.len()], 0));
            let read = |layout: Layout| Some(View::from(&one).layout(layout));
            let y = read(Layout::strided(&shape, &[0, 0], 0));
            let reads =
                vec![read(x), y, Some(View::from(&dz[..rows * columns]).layout(Layout::contiguous(&shape)))];
            let args: Args<View, Output> =
                Args::new(ops::modulo(), reads, vec![None, Some((&mut dx).into())]);
            pool.install(|| Runner::cpu().run(args)).expect("a right call");
            let by_row = own.last() == Some(&1) && own.len() == 2;
            let column =
                |c: usize| dz[c..rows * columns].iter().step_by(columns).copied().collect::<Vec<_>>();
            let right: Vec<f32> = match own.iter().product::<u64>() {
                1 => vec![tree(&dz[..rows * columns])],
                _ if by_row => dz.chunks(columns).take(rows).map(tree).collect(),
                _ => (0..columns).map(|c| tree(&column(c))).collect(),
            };
            assert_eq!(bits(&dx), bits(&right), "{shape:?} to {own:?}");
            of_threads.push(dx);
        }
    }
    let (first, others) = of_threads.split_at(of_threads.len() / 3);
    assert!(others.chunks(first.len()).all(|other| other == first));
}

/// The error is at most log2(n) 2^-24 times the sum of the terms' magnitudes, even for 10^8 terms. A sum of one term
/// after the other would exceed that bound.
#[test]
fn sums_of_many_terms_are_near_the_exact_ones() {
    const LEN: usize = 1_000_000;
    let mut values = vec![vec![0.0; LEN]; 2];
    Data::Ordinary.fill(DType::F32, 36, 0, &mut values);
    let mut dz = values.swap_remove(1);
    // The terms are multiples of 2^-27 below 2^6, so integers hold their sums.
    let fixed = |v: f32| (f64::from(v) * 2.0_f64.powi(27)) as i128;
    for positive in [false, true] {
        if positive {
            for v in &mut dz {
                *v = v.abs();
            }
        }
        for repeats in [1, 7, 100] {
            let total = |f: fn(f32) -> f32| repeats * dz.iter().map(|v| fixed(f(*v))).sum::<i128>();
            let (exact, magnitudes) = (total(|v| v), total(f32::abs));
            let terms = repeats as f64 * LEN as f64;
            let check = |sum: f32, factor: i128| {
                let error = (fixed(sum) - factor * exact).abs() as f64;
                error <= terms.log2() * 2.0_f64.powi(-24) * (factor.abs() * magnitudes) as f64
            };
            let over = |strides: &[i64]| Layout::strided(&[repeats as u64, LEN as u64], strides, 0);
            // floor(4.5 / 1) is 4, so the terms of dy are exact.
            for (write, factor) in [(1, 1), (2, -4)] {
                let input = |value, i| {
                    let layout = if write == i { Layout::contiguous(&[]) } else { over(&[0, 0]) };
                    Some(View::from(value).layout(layout))
                };
                let reads =
                    vec![input(&[4.5_f32], 1), input(&[1.0], 2), Some(View::from(&dz).layout(over(&[0, 1])))];
                let mut sum = [f32::NAN];
                let mut writes = vec![None, None, None];
                writes[write] = Some(Output::from(&mut sum));
                Runner::cpu()
                    .run(Args::<View, Output>::new(ops::modulo(), reads, writes))
                    .expect("a right call");
                assert!(
                    check(sum[0], factor),
                    "{terms} terms: {} is not {exact} 2^-27 times {factor}",
                    sum[0]
                );
            }
            if positive && repeats == 100 {
                let one_after_the_other = (0..repeats).flat_map(|_| &dz).fold(0.0, |sum, v| sum + v);
                assert!(!check(one_after_the_other, 1), "the bound sees a sum of another order");
            }
        }
    }
}

/// Every exponent of y with every distance of exponents, and fractions that make the quotient hard to round.
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
    let (reads, source) = (vec![x, y, dz], "every pair of exponents".into());
    let table = Table { op: ops::modulo(), dtype: DType::F32, source, reads, writes: Vec::new() };
    check(&Runner::cpu(), &table, table.len(), Outputs::Z | Outputs::gradient(1))
}

/// The CPU path gives each thread 16 Ki elements and computes 128 at a time.
#[test]
fn the_cpu_path_is_right_around_its_blocks() -> Result<(), String> {
    const BLOCK: usize = 16 * 1024;
    for &op in ops::mods() {
        let table = drawn(op, DType::Bf16, 3 * BLOCK + 1, 3);
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1, 3 * BLOCK + 1] {
            check(&Runner::cpu(), &table, len, op.signature().all_outputs(Pass::Fused))?;
        }
    }
    Ok(())
}

/// The comparison sees every difference. Otherwise no other test means anything.
#[test]
fn the_comparison_can_fail() {
    let op: &Op = ops::modulo();
    let table = drawn(op, DType::F32, 1000, 5);
    let reads = table.rows();
    let right = &table.writes[0];
    let fails = |got: &[u32]| compare("a wrong result", op, 0, &reads, got, right).unwrap_err();
    assert_eq!(compare("", op, 0, &reads, right, right), Ok(()));

    let ordinary = right.iter().position(|z| f32::from_bits(*z).is_normal()).expect("a number");
    let mut one_bit = right.clone();
    one_bit[ordinary] ^= 1;
    let message = fails(&one_bit);
    let expected = format!("z[{ordinary}] is 0x{:x}", one_bit[ordinary]);
    assert!(message.contains(&expected) && message.contains("1 of 1000"), "{message}");

    let mut nan = right.clone();
    nan[ordinary] = 0x7fc0_0000;
    fails(&nan);
    // A NaN with other bits than the right NaN, and a zero of the wrong sign.
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

/// The exclusive or of two inputs. Both gradients are the upstream gradient.
fn xor() -> Result<Op, Error> {
    let signature = Signature::builder("xor", ["x", "y"])
        .z("x ^ y", "x ^ y")
        .gradient("x", "dz", "dz")
        .gradient("y", "dz", "dz")
        .build()?;
    Op::raw(signature, |_, reads, writes| {
        writes.copy_from_slice(&[
            f32::from_bits(reads[0].to_bits() ^ reads[1].to_bits()),
            reads[2],
            reads[2],
        ]);
    })
}

/// A call that needs no layout is computed directly. It gives what the same call with layouts gives, including
/// errors.
#[test]
fn calls_without_layouts_are_those_with() -> Result<(), Error> {
    let x: Vec<f32> = (0..200).map(|i| i as f32 * 0.37 - 30.0).collect();
    let short = &x[..199];
    let ops: [&Op; 3] = [ops::spiky(), ops::modulo(), &xor()?];
    for op in ops {
        let inputs = op.signature().inputs().len();
        for reads in [vec![&x[..]; inputs + 1], vec![&x[..]; inputs], vec![&x[..]], vec![&x, short, &x]] {
            for set in 0..1_u32 << op.signature().write_count() {
                for dtype in [None, Some(DType::F32), Some(DType::Bf16)] {
                    let run = |with_layouts: bool| {
                        let mut writes = vec![vec![0.0_f32; 200]; op.signature().write_count()];
                        let mut args = Args::new(
                            op,
                            reads
                                .iter()
                                .map(|read| {
                                    let view = View::from(*read);
                                    let shape = [read.len() as u64];
                                    Some(if with_layouts { view.shape(&shape) } else { view })
                                })
                                .collect(),
                            (0..)
                                .zip(&mut writes)
                                .map(|(w, write)| (set >> w & 1 == 1).then(|| Output::from(&mut write[..])))
                                .collect(),
                        );
                        args.dtype = dtype;
                        let result = Runner::cpu().run(args);
                        (result.is_ok(), writes.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>())
                    };
                    assert!(run(false) == run(true), "{} {set} {dtype:?}: {:?}", op.name(), run(false).0);
                }
            }
        }
    }
    Ok(())
}

/// An op whose gradients are all aliases can be verified, alone and with others.
#[test]
fn aliases_alone_are_verified() -> Result<(), Error> {
    let op = xor()?;
    for inputs in [Inputs::Sample { count: 1000, seed: 7 }, Inputs::Given(vec![vec![1.5]; 3])] {
        let report =
            verify(&Runner::cpu(), &op, DType::F32, &inputs, Pass::ALL, &mut |_| ControlFlow::Continue(()))?;
        assert_eq!((report.checked, report.mismatches), (inputs.count(op.signature(), DType::F32), 0));
    }
    let none =
        verify(&Runner::cpu(), &op, DType::F32, &Inputs::Given(vec![vec![]; 3]), Pass::ALL, &mut |_| {
            ControlFlow::Continue(())
        });
    assert!(none.is_err(), "no elements are no success");
    Ok(())
}
