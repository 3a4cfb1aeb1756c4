//! Derived and written gradients against central differences in f64. The check itself must be able to fail.

use crate::common::{Draw, compare, vectors};
use elemgrad::{
    DType, Error, Expr, Op, Runner,
    check::{Data, GradientOptions, GradientReport, LeftOut, gradient_check},
};

/// Random numbers of both signs, up to a limit.
fn drawn(draw: &mut Draw, limit: f32, len: usize) -> Vec<f32> {
    (0..len).map(|_| limit * (draw.bits() as f32 / (u32::MAX / 2) as f32 - 1.0)).collect()
}

fn check(op: &Op, inputs: &[Vec<f32>]) -> Result<GradientReport, Error> {
    gradient_check(op, inputs, &GradientOptions::default())
}

/// Asserts that nothing fails and that at least the share `least` of the gradients is compared.
fn assert_right(op: &Op, inputs: &[Vec<f32>], least: f64) -> Result<(), Error> {
    let report = check(op, inputs)?;
    assert_eq!(report.failures, 0, "{}: {}", report.op, report.first[0]);
    let all = report.checked + report.left_out.total();
    assert!(report.checked as f64 >= least * all as f64, "{report:#?}");
    Ok(())
}

/// An op for each row of the table of derivatives, and the share of gradients that can be compared for arbitrary
/// numbers.
fn rows() -> Result<Vec<(Op, f64)>, Error> {
    macro_rules! rows {
        ($($name:ident $least:literal: $z:expr;)+) => {
            vec![$((Op::new(stringify!($name), ["x", "y"], $z)?, $least)),+]
        };
    }
    Ok(rows! {
        add 1.0: |[x, y]| x + y;
        sub 1.0: |[x, y]| x - y;
        neg 1.0: |[x, y]| -x - y;
        mul 1.0: |[x, y]| x * y;
        square 1.0: |[x, _]| x * x;
        div 0.99: |[x, y]| x / y;
        abs 1.0: |[x, y]| x.abs() * y;
        min 1.0: |[x, y]| (x * 2.0).min(y * 3.0);
        max 1.0: |[x, y]| (x * 2.0).max(y * 3.0);
        tie 1.0: |[x, y]| (x + y).max(x + y).min(x + y);
        floor 0.99: |[x, y]| x.floor() * y;
        ceil 0.99: |[x, y]| x.ceil() * y;
        round 0.99: |[x, y]| x.round() * y;
        trunc 0.99: |[x, y]| x.trunc() * y;
        floor_quotient 0.99: |[x, y]| x.floor_quotient(y) * y;
        round_to_storage 1.0: |[x, y]| (x * 3.0).round_to_storage() * y;
        floor_mod 0.99: |[x, y]| x.floor_mod(y);
        trunc_mod 0.99: |[x, y]| x.trunc_mod(y);
        sqrt 0.45: |[x, y]| x.sqrt() * y;
        exp 1.0: |[x, y]| (x * 0.25).exp() * y;
        log 0.45: |[x, y]| x.log() * y;
        sin 1.0: |[x, y]| x.sin() * y;
        cos 1.0: |[x, y]| x.cos() * y;
        tanh 0.9: |[x, y]| x.tanh() * y;
        pow 0.45: |[x, y]| x.pow(y);
        select 1.0: |[x, y]| x.lt(y).select(x * 3.0, y * x);
        logic 1.0: |[x, y]| ((x.lt(y) & y.gt(0.0)) | !x.eq(1.0) & x.le(-2.0)).select(x, y * y);
        nested 1.0: |[x, y]| x.lt(0.0).select(y.lt(0.0).select(x * y, x), y.ge(1.0).select(y * y, x * x));
        shared 0.9: |[x, y]| { let s = (x * y).sin(); s * s + s.exp() / (s * s + 1.0) };
        softplus 0.9: |[x, y]| ((x * y).exp() + 1.0).log();
        spiky 0.99: |[x, y]| (x * y).spiky();
    })
}

/// The counts of a report in which nothing is left out but this.
fn left_out(set: impl FnOnce(&mut LeftOut)) -> LeftOut {
    let mut left_out = LeftOut::default();
    set(&mut left_out);
    left_out
}

#[test]
fn every_derivative_is_that_of_its_output() -> Result<(), Error> {
    let mut draw = Draw::new(51);
    let inputs = [6.0, 4.0].map(|limit| drawn(&mut draw, limit, 500));
    let mut ordinary = vec![vec![0.0; 500]; 3];
    Data::Ordinary.fill(DType::F32, 52, 0, &mut ordinary);
    ordinary.pop();
    for (op, least) in rows()? {
        assert_right(&op, &inputs, least)?;
        // For large numbers, sines and exponentials say little.
        assert_right(&op, &ordinary, 0.0)?;
    }
    Ok(())
}

/// The check sees an error of a hundred-thousandth in every row that has a gradient. It also sees NaN and the
/// gradient of the other input.
#[test]
fn a_wrong_gradient_is_seen_in_every_row() -> Result<(), Error> {
    let mut draw = Draw::new(53);
    let inputs = [6.0, 4.0].map(|limit| drawn(&mut draw, limit, 100));
    let ones = vec![1.0; 100];
    for (op, _) in rows()? {
        let gradients = [op.derivative("x")?, op.derivative("y")?];
        for (input, gradient, other) in
            [("x", &gradients[0], &gradients[1]), ("y", &gradients[1], &gradients[0])]
        {
            let [right, swapped] = [gradient, other].map(|gradient| {
                let reads = [&inputs[0], &inputs[1], &ones];
                Runner::reference().forward(gradient, &reads)
            });
            let (right, swapped) = (right?, swapped?);
            let seen = |wrong: Op| {
                let report = check(&wrong, &inputs)?;
                assert!(
                    report.first.iter().all(|wrong| wrong.input == input && wrong.fails()),
                    "{report:#?}"
                );
                Ok::<_, Error>(report.failures > 0)
            };
            let written = |factor: f32| {
                op.clone().with_gradient(input, |[x, y], _, dz| gradient.call([x, y, dz]) * factor)
            };
            let name = format!("{} d{input}", op.name());
            let passes = right.iter().any(|g| g.is_finite() && *g != 0.0);
            assert_eq!(seen(written(1.00001)?)?, passes, "{name} scaled");
            assert!(seen(written(f32::NAN)?)?, "{name} NaN");
            assert!(!seen(written(1.0)?)?, "{name} as it is");
            let exchanged = op.clone().with_gradient(input, |[x, y], _, dz| other.call([x, y, dz]))?;
            let differ = right.iter().zip(&swapped).any(|(a, b)| (a - b).abs() > 1e-3);
            assert!(!differ || seen(exchanged)?, "{name} exchanged");
        }
    }
    Ok(())
}

/// Ties, integers, zeros: at a jump of the op nothing is compared; next to the jump everything is.
#[test]
fn points_on_an_edge_are_left_out_and_counted() -> Result<(), Error> {
    type Z = for<'g> fn([Expr<'g>; 1]) -> Expr<'g>;
    let next = |x: f32| f32::from_bits(x.to_bits() + 1);
    let cases: [(&str, Z, f32); 8] = [
        ("spiky", |[x]| x.spiky(), 2.0),
        ("half", |[x]| x.spiky(), 1.5),
        ("mod", |[x]| x.floor_mod(0.25), 0.75),
        ("abs", |[x]| x.abs(), 0.0),
        ("relu", |[x]| x.max(0.0), 0.0),
        ("round", |[x]| x.round(), 2.5),
        ("compare", |[x]| x.gt(3.0).select(x, 1.0), 3.0),
        ("trunc_mod", |[x]| x.trunc_mod(7.0), -21.0),
    ];
    for (name, z, edge) in cases {
        let report = check(&Op::new(name, ["x"], z)?, &[vec![edge, next(edge), edge + 0.1]])?;
        let jumps = left_out(|l| l.jumps = 1);
        // Next to 0 is a subnormal number: a step that stays on its side is one too.
        assert_eq!((report.checked, report.failures, report.left_out), (2, 0, jumps), "{name}: {report:#?}");
    }
    Ok(())
}

#[test]
fn what_is_not_finite_or_unclear_is_left_out_and_counted() -> Result<(), Error> {
    let log = Op::new("log", ["x"], |[x]| x.log())?;
    let report = check(&log, &[vec![0.0, -1.0, f32::NAN, f32::INFINITY, 1e-30, f32::MAX, 1e-40]])?;
    let not_finite = left_out(|l| l.not_finite = 4);
    assert_eq!((report.checked, report.failures, report.left_out), (3, 0, not_finite), "{report:#?}");

    // No f64 step tells the slope of sin(1e30).
    let sin = Op::new("sin", ["x"], |[x]| x.sin())?;
    let report = check(&sin, &[vec![1e30, 1e3, 0.0]])?;
    let unclear = left_out(|l| l.unclear = 1);
    assert_eq!((report.checked, report.failures, report.left_out), (2, 0, unclear), "{report:#?}");

    // A result that cancels tells nothing, and is not a failure.
    let cancels = Op::new("cancels", ["x"], |[x]| (x + 1e25) - 1e25)?;
    assert_eq!(check(&cancels, &[vec![1.0]])?.left_out, unclear);
    // Here the difference quotient knows, and the gradient does not matter where it is 0.
    let constant = Op::new("constant", ["x"], |[x]| x.sin() * x.sin() + x.cos() * x.cos())?;
    let report = check(&constant, &[vec![1.0, 2.0, 30.0]])?;
    assert_eq!((report.checked, report.failures), (3, 0), "{report:#?}");
    Ok(())
}

/// Steps that match a period would see a constant.
#[test]
fn periods_do_not_hide_slopes() -> Result<(), Error> {
    let mut draw = Draw::new(54);
    for frequency in [1.0, 2.0, 8.0, 64.0, 1000.0] {
        let wave = Op::new("wave", ["x"], |[x]| (x * (std::f32::consts::TAU * frequency)).sin())?;
        let integers = (0..200).map(|i| i as f32).collect();
        assert_right(&wave, &[integers], 1.0)?;
        assert_right(&wave, &[drawn(&mut draw, 100.0, 200)], 1.0)?;
    }
    Ok(())
}

/// A branch that is not taken does not count, whatever it computes.
#[test]
fn a_dead_branch_may_be_nan() -> Result<(), Error> {
    let op = Op::new("op", ["x", "y"], |[x, y]| {
        let root = x.gt(0.0).select(x.sqrt() * y, x * y);
        y.lt(0.5).select(root, (-1.0 - y * y).log() + x.floor() * y).min(100.0)
    })?;
    let inputs = [vec![4.0, -4.0, -0.25, 9.5], vec![-2.0, 0.25, 0.125, 0.375]];
    let report = check(&op, &inputs)?;
    assert_eq!((report.checked, report.failures, report.left_out.total()), (8, 0, 0), "{report:#?}");
    // A branch that is taken counts.
    let report = check(&op, &[vec![4.0], vec![2.0]])?;
    assert_eq!((report.checked, report.left_out.not_finite), (0, 2), "{report:#?}");
    Ok(())
}

#[test]
fn written_gradients_can_be_left_out() -> Result<(), Error> {
    let step = Op::new("step", ["x"], |[x]| x.gt(0.0).select(1.0, 0.0))?;
    let surrogate = step.with_gradient("x", |[x], _, dz| dz / (x.abs() + 1.0))?;
    let inputs = [vec![-2.0, 1.0, 3.0]];
    let report = check(&surrogate, &inputs)?;
    assert_eq!((report.checked, report.failures), (3, 3));
    let mut options = GradientOptions::default();
    options.written = false;
    let report = gradient_check(&surrogate, &inputs, &options)?;
    let written = left_out(|l| l.written = 3);
    assert_eq!((report.checked, report.failures, report.left_out), (0, 0, written));
    assert!(report.passed(), "there is nothing to check");

    // In an op that calls it, the gradient is derived and includes the surrogate.
    let caller = Op::new("caller", ["x", "y"], |[x, y]| surrogate.call([x * 2.0]) * y)?;
    let inputs_of_two = [vec![2.0], vec![3.0]];
    let report = check(&caller, &inputs_of_two)?;
    assert_eq!((report.checked, report.failures, &*report.first[0].input), (2, 1, "x"));
    let report = gradient_check(&caller, &inputs_of_two, &options)?;
    let written = left_out(|l| l.written = 1);
    assert_eq!((report.checked, report.failures, report.left_out), (1, 0, written));
    // The same holds through the op that calls that op. It does not hold if no gradient comes from it, or if another
    // gradient is written.
    let outer = Op::new("outer", ["x", "y"], |[x, y]| caller.call([x * x, y]) - y)?
        .with_gradient("y", |[_, _], _, dz| dz)?;
    let through = Op::new("through", ["x", "y"], |[x, y]| outer.call([x, 1.0 * y]))?;
    let decides = Op::new("decides", ["x", "y"], |[x, y]| surrogate.call([x]).gt(0.5).select(x, y))?;
    let first = Op::new("first", ["x", "y"], |[x, y]| x * x * y)?.with_gradient("y", |[_, _], _, dz| dz)?;
    let beside = Op::new("beside", ["x", "y"], |[x, y]| first.call([x, y]))?;
    for (op, checked) in [(&outer, 0), (&through, 0), (&decides, 2), (&beside, 1)] {
        let report = gradient_check(op, &inputs_of_two, &options)?;
        let name = op.name();
        assert_eq!(
            (report.checked, report.failures, report.left_out.total()),
            (checked, 0, 2 - checked),
            "{name}"
        );
    }

    // A written gradient that is right, and one that is not linear in the upstream gradient.
    let square = Op::new("square", ["x"], |[x]| x * x)?;
    assert_right(&square.clone().with_gradient("x", |[x], _, dz| dz * 2.0 * x)?, &inputs, 1.0)?;
    let clipped = square.with_gradient("x", |[x], _, dz| dz.max(-1.0) * 2.0 * x)?;
    let report = check(&clipped, &inputs)?;
    assert_eq!(report.failures, 3);
    assert_eq!(report.first[0].reads.last(), Some(&("dz".to_owned(), -2.5)));
    Ok(())
}

/// A derivative is an op, so it has derivatives.
#[test]
fn second_derivatives_are_right() -> Result<(), Error> {
    let mut draw = Draw::new(55);
    let cube = Op::new("cube", ["x"], |[x]| x * x * x)?;
    let sin = Op::new("sin", ["x"], |[x]| x.sin())?;
    let twice = |op: &Op| op.derivative("x")?.derivative("x");
    let inputs: Vec<Vec<f32>> = (0..3).map(|_| drawn(&mut draw, 3.0, 300)).collect();
    for op in [&cube, &sin] {
        assert_right(&op.derivative("x")?, &inputs[..2], 1.0)?;
        assert_right(&twice(op)?, &inputs, 1.0)?;
    }
    let ones = vec![1.0; 300];
    let [of_cube, of_sin] =
        [&cube, &sin].map(|op| Runner::reference().forward(&twice(op)?, &[&inputs[0], &ones, &ones]));
    for (x, (cube, sin)) in inputs[0].iter().zip(of_cube?.iter().zip(&of_sin?)) {
        assert!((cube - 6.0 * x).abs() <= 1e-5 && (sin + x.sin()).abs() <= 1e-6, "{x}: {cube} {sin}");
    }
    for (op, _) in rows()? {
        for input in ["x", "y"] {
            let inputs: Vec<_> = inputs.iter().map(|input| input[..100].to_vec()).collect();
            assert_right(&op.derivative(input)?, &inputs, 0.0)?;
        }
    }
    Ok(())
}

/// Along a line through each point, the op changes as its tangent says.
#[test]
fn directional_derivatives_are_right() -> Result<(), Error> {
    let mut draw = Draw::new(56);
    let limits = [0.5, 3.0, 3.0, 1.0, 1.0];
    let inputs: Vec<Vec<f32>> = limits.iter().map(|limit| drawn(&mut draw, *limit, 100)).collect();
    for (op, least) in rows()? {
        let jvp = op.jvp()?;
        let line = |factor: f32| {
            Op::new("line", ["s", "x", "y", "u", "v"], |[s, x, y, u, v]| op.call([x + s * u, y + s * v]))?
                .with_gradient("s", |[s, x, y, u, v], _, dz| {
                    jvp.call([x + s * u, y + s * v, u, v]) * dz * factor
                })
        };
        assert_right(&line(1.0)?, &inputs, 0.9 * least)?;
        let wrong = check(&line(1.001)?, &inputs)?;
        let flat = ["floor_quotient"].contains(&op.name());
        assert!(flat || wrong.failures > 0, "{wrong:#?}");
        assert!(wrong.first.iter().all(|wrong| wrong.input == "s"), "{wrong:#?}");
    }
    Ok(())
}

#[test]
fn wrong_inputs_are_refused() -> Result<(), Error> {
    let op = Op::new("op", ["x", "y"], |[x, y]| x * y)?;
    let refused = |inputs: &[Vec<f32>]| check(&op, inputs).map(|_| ()).unwrap_err();
    let arity = |what, got, need| Error::Arity { op: "op".into(), what, got, need };
    assert_eq!(refused(&[vec![1.0]]), arity("inputs", 1, 2));
    assert_eq!(refused(&[]), arity("inputs", 0, 2));
    assert_eq!(refused(&[vec![], vec![]]), arity("elements", 0, 1));
    let (argument, other) = ("y".into(), "x".into());
    let length = Error::Length { op: "op".into(), argument, got: 2, need: 1, other };
    assert_eq!(refused(&[vec![1.0], vec![1.0, 2.0]]), length);
    Ok(())
}

#[test]
fn a_failure_says_everything() -> Result<(), Error> {
    let op = Op::new("op", ["x", "y"], |[x, y]| x * y)?.with_gradient("y", |[x, _], _, dz| -x * dz)?;
    let report = check(&op, &[vec![2.0; 20], vec![0.5; 20]])?;
    assert_eq!((report.checked, report.failures, report.first.len()), (40, 20, 10));
    let first = &report.first[0];
    assert_eq!((first.element, first.gradient, first.error()), (0, -2.0, 4.0));
    let text = first.to_string();
    for part in ["element 0: x = 2e0 y = 5e-1 dz = 1e0: dy is -2e0", "difference quotient 2", "allowed"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(report.worst.is_some_and(|worst| worst.input == "y"));
    Ok(())
}

/// The derived gradients have the bits of the built-in ops.
#[test]
fn the_gradients_of_the_built_in_ops_are_derived() -> Result<(), String> {
    let spiky = Op::new("spiky", ["x"], |[x]| x.spiky()).map_err(|e| e.to_string())?;
    let modulo = Op::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y)).map_err(|e| e.to_string())?;
    for &dtype in DType::ALL {
        for (table, op) in vectors(dtype).iter().zip([&spiky, &modulo]) {
            let reads = table.rows();
            for (w, got) in crate::common::reference(op, dtype, &reads).iter().enumerate().take(reads.len()) {
                compare(&table.source, op, w, &reads, got, &table.writes[w])?;
            }
        }
    }
    Ok(())
}

/// A slack of NaN allows nothing.
#[test]
fn a_slack_that_is_nan_lets_nothing_pass() -> Result<(), Error> {
    let wrong = Op::new("square", ["x"], |[x]| x * x)?.with_gradient("x", |[x], _, dz| x * dz)?;
    for slack in [f64::NAN, 0.0, -1.0] {
        let mut options = GradientOptions::default();
        options.slack = slack;
        let report = gradient_check(&wrong, &[[3.0]], &options)?;
        assert!(!report.passed() && report.failures == 1, "{slack}: {report}");
    }
    Ok(())
}

/// In f64 all is well. In f32 a power overflows or is 0.
#[test]
fn a_gradient_that_f32_cannot_compute_is_wrong() -> Result<(), Error> {
    let ratio = Op::from_expression("ratio", "exp(x) / (2.0 + exp(x))")?;
    let report = check(&ratio, &[vec![-1.0, 3.0, 40.0]])?;
    assert!(report.passed(), "{report}");
    let report =
        check(&Op::from_expression("power", "pow(x * x * x * x, 0.25)")?, &[vec![1.0, 1e-12, 1e12]])?;
    assert_eq!((report.checked, report.failures), (3, 2), "{report}");
    let shown = report.first.iter().map(ToString::to_string).collect::<String>();
    assert!(shown.contains("element 1") && shown.contains("but in f32"), "{shown}");
    // Recognised for what it means.
    for text in ["1.0 / (1.0 + exp(-x))", "log(1.0 + exp(x))"] {
        let report = check(&Op::from_expression("op", text)?, &[vec![-80.0, -1.0, 50.0]])?;
        assert!(report.passed(), "{report}");
    }
    Ok(())
}
