//! The self-test of ops, on the CPU and on every adapter: for right ops, and for ops that are wrong on purpose.

use crate::common::{edited, is_full};
use elemgrad::{
    Arithmetic, DType, Error, Op, Pass, Runner,
    check::{SelfTest, SelfTestCase, self_test},
    ops,
    signature::Signature,
    wgpu,
};
use libtest_mimic::{Failed, Trial};

type Check = fn(&Runner) -> Result<(), Failed>;

const ON_THE_CPU: [(&str, Check); 3] = [
    ("built_in_ops_pass", built_in_ops_pass),
    ("custom_ops_pass", custom_ops_pass),
    ("more_custom_ops_pass", more_custom_ops_pass),
];

const ON_ADAPTERS: [(&str, Check); 4] = [
    ("built_in_ops_pass", built_in_ops_pass),
    ("custom_ops_pass", custom_ops_pass),
    ("native_ops_pass", native_ops_pass),
    ("wrong_wgsl_is_seen", wrong_wgsl_is_seen),
];

pub(crate) fn on_adapter(name: &str, adapter: &wgpu::Adapter) -> Vec<Trial> {
    let trial = |(case, check): (&str, Check)| {
        let adapter = adapter.clone();
        Trial::test(format!("{name}: {case}"), move || check(&Runner::on_adapter(&adapter)?))
    };
    ON_ADAPTERS.map(trial).into()
}

pub(crate) fn on_the_cpu(name: &str) -> Vec<Trial> {
    let trial =
        |(case, check): (&str, Check)| Trial::test(format!("{name}: {case}"), move || check(&Runner::cpu()));
    ON_THE_CPU.map(trial).into()
}

// Ops that are right.

fn assert_passes(runner: &Runner, op: &Op) -> Result<SelfTest, Error> {
    let report = self_test(runner, op)?;
    assert!(report.passed(), "{report}");
    for case in &report.cases {
        // Only the way "in place" may be skipped, because it is for buffers alone.
        assert_eq!(case.skipped.is_some(), case.way == "in place" && runner.gpu().is_none(), "{report}");
        assert_eq!(case.checked == 0, case.skipped.is_some(), "{report}");
    }
    Ok(report)
}

fn built_in_ops_pass(runner: &Runner) -> Result<(), Failed> {
    for &op in ops::mods() {
        if op.signature().inputs().len() > 1 && is_too_long(runner) {
            continue;
        }
        let report = assert_passes(runner, op)?;
        let from_mask = report.cases.iter().any(|case| case.way == "from the mask");
        assert_eq!(from_mask, op.signature().mask().is_some(), "{report}");
    }
    Ok(())
}

/// Ops of one to three inputs, with gates, sums of gradients, and written gradients.
fn exact_ops() -> Result<Vec<Op>, Error> {
    let step = Op::new("step", ["x"], |[x]| x.gt(0.0).select(1.0, 0.0))?
        .with_gradient("x", |[x], _, dz| x.abs().le(1.0).select(dz, 0.0))?;
    exact([
        Op::new("spiky", ["x"], |[x]| x.spiky())?,
        Op::new("relu", ["x"], |[x]| x.max(0.0))?,
        // Its gradient is 0, so the gradient reads nothing.
        Op::new("floor", ["x"], |[x]| x.floor())?,
        Op::new("blend", ["x", "y", "t"], |[x, y, t]| x + (y - x) * t.max(0.0).min(1.0))?,
        Op::new("gate", ["x", "y"], |[x, y]| step.call([x - y]) * x.abs())?,
        step,
    ])
}

/// Ops with so many kernels that a software adapter compiles them for minutes.
/// So many nodes that a kernel calls the op's function in a loop.
fn steps() -> Result<Op, Error> {
    let steps = Op::new("steps", ["x"], |[x]| {
        (0..40).fold(x, |v, i| x.gt(i as f32 * 0.25).select(x.constant(i as f32), v))
    })?;
    steps.with_arithmetic(Arithmetic::Exact)
}

fn long_ops() -> Result<Vec<Op>, Error> {
    exact([
        Op::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))?,
        Op::new("hypot", ["x", "y"], |[x, y]| (x * x + y * y).sqrt())?,
        Op::new("ratio", ["x", "y"], |[x, y]| x.trunc_mod(y) / y.round())?,
    ])
}

fn exact<const N: usize>(ops: [Op; N]) -> Result<Vec<Op>, Error> {
    ops.into_iter().map(|op| op.with_arithmetic(Arithmetic::Exact)).collect()
}

fn native_ops() -> Result<Vec<Op>, Error> {
    Ok(vec![
        Op::new("gelu", ["x"], |[x]| x * 0.5 * ((x + x * x * x * 0.044715) * 0.7978846).tanh())?,
        Op::new("wave", ["x", "y"], |[x, y]| (x * y).sin() * (-x.abs()).exp())?,
        Op::new("power", ["x", "y"], |[x, y]| (x.abs() + 0.5).pow(y) + x.trunc_mod(y).log())?,
    ])
}

/// Whether a software adapter would need half a minute to compile the kernels of another op of two or three inputs.
/// All ops get the same test on the CPU, and two ops of two inputs get it on each adapter.
fn is_too_long(runner: &Runner) -> bool {
    runner.gpu().is_some() && !is_full()
}

fn custom_ops_pass(runner: &Runner) -> Result<(), Failed> {
    let mut ops = exact_ops()?;
    ops.retain(|op| op.signature().inputs().len() == 1 || !is_too_long(runner));
    // SwiftShader takes minutes to compile so many nodes, in every way to call them.
    if !runner.name().contains("SwiftShader") {
        ops.push(steps()?);
    }
    Ok(ops.iter().try_for_each(|op| assert_passes(runner, op).map(drop))?)
}

/// On a GPU, native ops lie within their enclosures, and so do sums of gradients. A product that is off does not.
fn native_ops_pass(runner: &Runner) -> Result<(), Failed> {
    const OFF: &str =
        "fn off_mul(a: u32, b: u32) -> u32 { return native_mul(native_mul(a, 0x3f800054u), b); }";
    let ops = native_ops()?;
    ops[usize::from(is_too_long(runner))..2].iter().try_for_each(|op| assert_passes(runner, op).map(drop))?;
    let product = Op::new("off", ["x", "y"], |[x, y]| x * y)?;
    let wrong = edited(&product, |source| source.replace("native_mul(", "off_mul("), &[OFF])?;
    let report = self_test(runner, &wrong)?;
    let seen = report.failures().filter(|case| case.dtype == DType::F32).count();
    assert!(seen > 10, "{report}");
    Ok(())
}

fn more_custom_ops_pass(runner: &Runner) -> Result<(), Failed> {
    let ops = [long_ops()?, native_ops()?].concat();
    Ok(ops.iter().try_for_each(|op| assert_passes(runner, op).map(drop))?)
}

// Ops that are wrong.

const SIGN: u32 = 0x8000_0000;
/// Bits below the last place of an f16 and of a bf16.
const DIGITS: u32 = 0x1555;

/// The WGSL of the outputs of `signs`.
const SIGNS: [&str; 3] = ["x ^ sign", "dz ^ sign", "dz ^ 0x1555u"];

/// A hand-made op: `x` with its sign changed if `y` is negative. Its reference is right; its WGSL need not be.
fn signs([z, dx, dy]: [&str; 3]) -> Result<Op, Error> {
    let signature = Signature::builder("signs", ["x", "y"])
        .bind("sign", "y & 0x80000000u")
        .z(z, "x with the sign of xy")
        .gradient("x", dx, "dz with the sign of dz y")
        .gradient("y", dy, "dz with other digits")
        .build()?;
    Op::raw(signature, |_, reads, writes| {
        let [x, y, dz] = [0, 1, 2].map(|i: usize| reads[i].to_bits());
        writes.copy_from_slice(&[x ^ y & SIGN, dz ^ y & SIGN, dz ^ DIGITS].map(f32::from_bits));
    })
}

/// Asserts that the op fails exactly in the cases in which it is wrong, and that the report says so.
fn assert_fails(runner: &Runner, op: &Op, wrong: impl Fn(&SelfTestCase) -> bool) -> Result<(), Error> {
    let report = self_test(runner, op)?;
    for case in report.cases.iter().filter(|case| case.skipped.is_none()) {
        assert_eq!(
            [case.mismatches > 0, case.first.is_some()],
            [wrong(case); 2],
            "{}\n{report}",
            case.name()
        );
    }
    let (text, first) = (report.to_string(), report.failures().next().expect("a failure"));
    assert!(!report.passed() && text.contains(&first.name()) && text.contains("wrong"), "{text}");
    Ok(())
}

fn has_gradients(case: &SelfTestCase) -> bool {
    case.pass != Pass::Forward
}

fn has_z(case: &SelfTestCase) -> bool {
    case.pass != Pass::Backward
}

/// Terms that are rounded before they are added do not show in a gradient that is stored as it is.
fn adds_rounded(case: &SelfTestCase) -> bool {
    let adds_dy = case.way.contains("added") || case.way.contains('y');
    has_gradients(case) && case.dtype != DType::F32 && adds_dy
}

fn wrong_wgsl_is_seen(gpu: &Runner) -> Result<(), Failed> {
    let [z, dx, dy] = SIGNS;
    drop(assert_passes(gpu, &signs(SIGNS)?)?);
    assert_fails(gpu, &signs([z, dy, dx])?, has_gradients)?;
    // A constant output, and terms that are rounded before they are added.
    let rounded = signs(["0u", dx, "storage_widen(storage_round(dz ^ 0x1555u))"])?;
    assert_fails(gpu, &rounded, |case| has_z(case) || adds_rounded(case))?;
    // Wrong only if x is a subnormal f32.
    let flushed = signs(["select(x ^ sign, sign, (x << 1u) - 1u < 0xffffffu)", dx, dy])?;
    let report = self_test(gpu, &flushed)?;
    for case in report.cases.iter().filter(|case| case.way == "contiguous") {
        let wrong = has_z(case) && case.dtype != DType::F16;
        assert_eq!(case.mismatches > 0, wrong, "{}\n{report}", case.name());
    }
    let broken = self_test(gpu, &signs(["no_such_function(x)", dx, dy])?);
    assert!(matches!(broken, Err(Error::Shader { .. })));
    Ok(())
}
