//! Your own ops. The built-in ops made of building blocks have the bits of the built-in ops, on the CPU and on every
//! adapter. Further tests: more operands than a device binds, composition, scalars, names.

use std::ops::ControlFlow;

use crate::common::{is_full, output_of, view_of};
use elemgrad::{
    Args, Arithmetic, DType, Error, Op, Output, Outputs, Pass, Runner, View,
    check::{Data, Inputs, verify},
    ops,
    shader::{Access, Shader},
    signature::OutputKind,
    wgpu,
};
use libtest_mimic::{Failed, Trial};
use rayon::prelude::*;

type OnAdapter = fn(&wgpu::Adapter) -> Result<(), Failed>;
type OnCpu = fn() -> Result<(), Failed>;

pub(crate) fn on_adapter(name: &str, adapter: &wgpu::Adapter) -> Vec<Trial> {
    let trial = |(case, run): (&str, OnAdapter)| {
        let adapter = adapter.clone();
        Trial::test(format!("{name}: {case}"), move || run(&adapter))
    };
    vec![trial(("rebuilt", rebuilt_on)), trial(("few_bindings", few_bindings)), trial(("zeros", zeros))]
}

pub(crate) fn on_the_cpu(name: &str) -> Vec<Trial> {
    let on_cpu: [(&str, OnCpu); 7] = [
        ("rebuilt", rebuilt),
        ("composed", composed),
        ("programs", programs),
        ("gates", gates),
        ("scalars", scalars),
        ("names", names),
        ("limits", limits),
    ];
    on_cpu.map(|(case, run)| Trial::test(format!("{name}: {case}"), run)).into()
}

fn spiky() -> Result<Op, Error> {
    Op::new("spiky", ["x"], |[x]| {
        let r = x.floor_mod(1.0).round_to_storage();
        r.le(0.5).select(r, 0.0)
    })
}

fn modulo() -> Result<Op, Error> {
    Op::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))
}

fn check(runner: &Runner, op: &Op, dtype: DType, count: u64) -> Result<(), Failed> {
    let inputs = Inputs::Sample { count, seed: 40 };
    let report = verify(runner, op, dtype, &inputs, Pass::ALL, &mut |_| ControlFlow::Continue(()))?;
    if report.mismatches == 0 && report.checked == count {
        return Ok(());
    }
    Err(format!("{} {}: {:#?}", report.op, dtype.name(), report.first.first()).into())
}

/// A ready-made op, the same op made of building blocks, and rows of a storage type with the results of the
/// ready-made op's reference.
struct Rebuilt {
    ready_made: &'static Op,
    op: Op,
    dtype: DType,
    len: usize,
    /// The inputs and the upstream gradient, as stored.
    reads: Vec<Vec<u32>>,
    /// The outputs that both have.
    writes: Vec<Vec<u32>>,
}

impl Rebuilt {
    /// Checks each ready-made op in each storage type, on `len` elements.
    fn each(
        arithmetic: Arithmetic,
        len: usize,
        check: impl Fn(&Self) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        for (op, ready_made) in [(spiky()?, ops::spiky()), (modulo()?, ops::modulo())] {
            let op = op.with_arithmetic(arithmetic)?;
            let names = |op: &Op| op.signature().outputs().iter().map(|o| o.name.clone()).collect::<Vec<_>>();
            assert!(names(ready_made).starts_with(&names(&op)), "the same outputs");
            for &dtype in DType::ALL {
                check(&Self::new(ready_made, op.clone(), dtype, len)?)?;
            }
        }
        Ok(())
    }

    fn new(ready_made: &'static Op, op: Op, dtype: DType, len: usize) -> Result<Self, Failed> {
        let mut values = vec![vec![0.0; len]; op.signature().upstream() + 1];
        Data::Mix.fill(dtype, 40, 0, &mut values);
        let reference = |op: &Op| {
            let rows = (0..len).into_par_iter().map(|i| {
                let mut row = vec![0.0; op.signature().write_count()];
                op.reference(dtype, &values.iter().map(|column| column[i]).collect::<Vec<_>>(), &mut row);
                row
            });
            let rows: Vec<_> = rows.collect();
            let output = |w: usize| {
                let column = rows.iter().map(|row| row[w]);
                if op.signature().mask() == Some(w) { mask(column) } else { packed(dtype, column) }
            };
            (0..op.signature().write_count()).map(output).collect::<Vec<_>>()
        };
        // Outputs that only the ready-made op has come last.
        let (mut writes, rebuilt) = (reference(ready_made), reference(&op));
        writes.truncate(rebuilt.len());
        let reads = values.iter().map(|column| packed(dtype, column.iter().copied())).collect();
        let all = Self { ready_made, op, dtype, len, reads, writes };
        for (w, got) in rebuilt.iter().enumerate() {
            all.compare("the reference", &all.op, w, got)?;
        }
        Ok(all)
    }

    /// Checks every set of outputs that a pass writes, of both ops.
    fn check(&self, runner: &Runner) -> Result<(), Failed> {
        let signature = self.op.signature();
        for &pass in Pass::ALL {
            for outputs in [signature.default_outputs(pass), signature.all_outputs(pass)] {
                self.check_outputs(runner, &self.op, outputs)?;
                self.check_outputs(runner, self.ready_made, outputs)?;
            }
        }
        Ok(())
    }

    fn check_outputs(&self, runner: &Runner, op: &Op, outputs: Outputs) -> Result<(), Failed> {
        let len = self.len;
        let views = self.reads.iter().map(|words| Some(view_of(self.dtype, words, 0..len)));
        // The bits of what is not written are wrong.
        let mut got: Vec<Vec<u32>> =
            self.writes.iter().map(|words| words.iter().map(|word| !word).collect()).collect();
        let writes = got.iter_mut().enumerate().map(|(w, words)| {
            Some(match op.signature().outputs()[w].kind {
                _ if !outputs.contains(w) => return None,
                OutputKind::Mask => Output::from(&mut words[..]),
                _ => output_of(self.dtype, words, 0..len),
            })
        });
        runner.run(Args::<View, Output>::new(op, views.collect(), writes.collect()))?;
        outputs.iter().try_for_each(|w| self.compare(runner.name(), op, w, &got[w]))
    }

    fn compare(&self, what: &str, op: &Op, w: usize, got: &[u32]) -> Result<(), Failed> {
        let right = &self.writes[w];
        let wrong = got.iter().zip(right).filter(|(got, right)| got != right).count();
        let Some(i) = (0..right.len()).find(|i| got[*i] != right[*i]) else { return Ok(()) };
        let output = &op.signature().outputs()[w].name;
        Err(format!(
            "{what}: {output} of {} {} in {} arithmetic: word {i} is {:08x}, not {:08x} ({wrong} words are wrong)",
            op.name(),
            self.dtype.name(),
            op.arithmetic().name(),
            got[i],
            right[i],
        )
        .into())
    }
}

/// The words of a column with an even number of elements.
fn packed(dtype: DType, values: impl Iterator<Item = f32>) -> Vec<u32> {
    let stored: Vec<u32> = values.map(|v| dtype.round(v)).collect();
    match dtype {
        DType::F32 => stored,
        _ => stored.chunks_exact(2).map(|pair| pair[0] | pair[1] << 16).collect(),
    }
}

/// The words of a mask.
fn mask(values: impl Iterator<Item = f32>) -> Vec<u32> {
    let bits: Vec<u32> = values.map(|v| u32::from(v != 0.0)).collect();
    bits.chunks(32).map(|bits| (0..).zip(bits).fold(0, |word, (i, bit)| word | bit << i)).collect()
}

fn rebuilt() -> Result<(), Failed> {
    let len = if is_full() { 1 << 20 } else { 1 << 17 };
    let cpu = Runner::cpu();
    Rebuilt::each(Arithmetic::Exact, len, |rebuilt| rebuilt.check(&cpu))?;
    Rebuilt::each(Arithmetic::Native, len, |rebuilt| {
        rebuilt.check(&cpu)?;
        check(&cpu, &rebuilt.op, rebuilt.dtype, len as u64)
    })
}

fn rebuilt_on(adapter: &wgpu::Adapter) -> Result<(), Failed> {
    let len = if is_full() { 1 << 18 } else { 1 << 16 };
    let runner = Runner::on_adapter(adapter)?;
    Rebuilt::each(Arithmetic::Exact, len, |rebuilt| {
        rebuilt.check(&runner)?;
        check(&runner, &rebuilt.op, rebuilt.dtype, len as u64)
    })?;
    // Native arithmetic also computes remainders, and what is cut off them, with integers. Gradients are as close as
    // native arithmetic is.
    Rebuilt::each(Arithmetic::Native, len, |rebuilt| {
        rebuilt.check_outputs(&runner, &rebuilt.op, Outputs::Z)?;
        check(&runner, &rebuilt.op, rebuilt.dtype, len as u64)
    })
}

/// A device that binds at most eight buffers computes outputs of many operands in parts.
fn few_bindings(adapter: &wgpu::Adapter) -> Result<(), Failed> {
    let required_limits = wgpu::Limits { max_storage_buffers_per_shader_stage: 8, ..adapter.limits() };
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    let runner = Runner::on_device(&device, &queue);
    let op = Op::new("six", ["a", "b", "c", "d", "e", "f"], |[a, b, c, d, e, f]| (a * b - c / d) * (e + f))?;
    let op = op.with_arithmetic(Arithmetic::Exact)?;
    check(&runner, &op, DType::F32, 1 << 14)?;
    check(&runner, &op, DType::F16, 1 << 14)?;

    let eight = Op::from_expression("eight", "a + b + c + d + e + f + g + h")?;
    match check(&runner, &eight, DType::F32, 1) {
        Err(error) if error.message().is_some_and(|m| m.contains("max_storage_buffers_per_shader_stage")) => {
            Ok(())
        }
        other => Err(format!("eight inputs and an output, with eight bindings: {other:?}").into()),
    }
}

/// Ops in ops are one expression, including their written gradients.
fn composed() -> Result<(), Failed> {
    let runner = Runner::cpu();
    let (spiky, modulo) = (spiky()?, modulo()?);
    let op =
        Op::new("scaled", ["x", "y", "scale"], |[x, y, scale]| spiky.call([modulo.call([x, y])]) * scale)?;
    let inputs: [&[f32]; 3] = [&[5.25, 0.75, -3.3], &[2.0, 0.5, 0.7], &[4.0, 8.0, 16.0]];
    let (z, gradients) = runner.fused(&op, &inputs, &[1.0; 3])?;
    for i in 0..3 {
        let (x, y, scale) = (inputs[0][i], inputs[1][i], inputs[2][i]);
        let r = elemgrad::ops::modulo::forward(x, y);
        let (s, open) = elemgrad::ops::spiky::fused(r, 1.0);
        let q = elemgrad::ops::modulo::quotient(x, y);
        assert_eq!(z[i], s * scale);
        assert_eq!([gradients[0][i], gradients[2][i]], [open * scale, s]);
        assert_eq!(gradients[1][i], if open == 0.0 { 0.0 } else { scale * -q });
    }

    let step = Op::new("step", ["x"], |[x]| x.gt(0.0).select(1.0, 0.0))?
        .with_gradient("x", |[x], z, dz| dz * (x + z))?;
    assert!(step.is_written("x"));
    let outer = Op::new("outer", ["a", "b"], |[a, b]| step.call([a * b]) * 3.0 + a)?;
    let gradients = runner.backward(&outer, &[&[2.0_f32], &[5.0]], &[1.0])?;
    // 3 * (10 + 1) passes the step.
    assert_eq!(gradients, [[33.0 * 5.0 + 1.0], [33.0 * 2.0]]);
    // Forward mode uses the same gradient.
    assert_eq!(runner.forward(&outer.jvp()?, &[&[2.0_f32], &[5.0], &[1.0], &[0.0]])?, [166.0]);
    // The written gradient is differentiated as it is written: dz * (x + z), where z is flat.
    let second = runner.backward(&step.derivative("x")?, &[&[2.0_f32], &[7.0]], &[1.0])?;
    assert_eq!(second, [[7.0], [3.0]]);
    Ok(())
}

/// The CPU path gives the reference's bits for an expression, in every storage type: for divisions that share their
/// work, and for gradients that round on their way.
fn programs() -> Result<(), Failed> {
    let ops = [
        Op::new("own", ["x", "y"], |[x, y]| x.floor_mod(y) * -x.floor_quotient(y))?,
        Op::new("one", ["x"], |[x]| (x.floor_quotient(1.0) + x.floor_mod(1.0)) * x)?,
        Op::new("both", ["x", "y"], |[x, y]| x.floor_quotient(y) * x.floor_mod(y) - x.floor_mod(y))?,
        Op::new("cut", ["x", "y"], |[x, y]| {
            x.le(0.5).select(y, 2.0) + x.floor_mod(1.0).le(0.25).select(y, x)
        })?,
        // Similar to spiky, but not spiky.
        Op::new("negative", ["x"], |[x]| x.floor_mod(1.0).le(0.5).select(x.floor_mod(1.0), -0.0))?,
        Op::new("leaky", ["x"], |[x]| x.floor_mod(1.0).le(0.5).select(x.floor_mod(1.0), 0.25))?,
        Op::new("edges", ["x"], |[x]| x.floor_mod(1.0).le(0.5).select(x.floor_mod(1.0), 0.0))?
            .with_gradient("x", |[x], _, dz| x.floor_mod(1.0).le(0.75).select(dz, 0.0))?,
        Op::new("inputs", ["x", "y"], |[x, y]| x.floor_mod(1.0).le(0.5).select(x.floor_mod(1.0), 0.0) + y)?
            .with_gradient("x", |[x, y], _, dz| y.floor_mod(1.0).le(0.5).select(dz, 0.0) + x)?,
        spiky()?
            .with_gradient("x", |[x], _, _| x.floor_mod(1.0).round_to_storage().le(0.5).select(x, 0.0))?,
        // Similar to mod, but not mod.
        modulo()?.with_gradient("x", |[_, y], _, _| y)?,
        modulo()?.with_gradient("y", |[x, y], _, dz| dz * -y.floor_quotient(x))?,
        modulo()?.with_gradient("y", |[x, y], _, _| x * -x.floor_quotient(y))?,
        Op::new("rounds", ["x"], |[x]| x.round_to_storage())?
            .with_gradient("x", |[x], _, dz| (dz * x).round_to_storage())?,
        Op::new("remainder", ["x"], |[x]| x)?.with_gradient("x", |[x], _, dz| dz.floor_mod(x))?,
        Op::new("sign", ["x"], |[x]| x.round_to_storage().lt(0.0).select(-1.0, 1.0))?,
    ];
    // A remainder that may be added to others is not computed in the narrow form of a storage type.
    let is_wide = |op: &Op| {
        let functions =
            Shader::functions(op.signature(), op.signature().all_outputs(Pass::Fused), DType::F16)?;
        Ok::<_, Error>(functions.contains("= f32_floor_mod_wide("))
    };
    assert_eq!([is_wide(&ops[13])?, is_wide(&modulo()?)?], [true, false], "{}", ops[13].name());
    for op in ops {
        DType::ALL.iter().copied().try_for_each(|dtype| check(&Runner::cpu(), &op, dtype, 1 << 16))?;
        // A self-test of an op of two inputs takes a second.
        if is_full() || op.signature().inputs().len() == 1 {
            let report = elemgrad::check::self_test(&Runner::cpu(), &op)?;
            assert!(report.passed(), "{report}");
        }
    }
    Ok(())
}

/// A mask is what forward can save: no condition that depends on the upstream gradient.
fn gates() -> Result<(), Failed> {
    let relu = Op::new("relu", ["x"], |[x]| x.max(0.0))?;
    let gated = relu.clone().with_gradient("x", |[x], _, dz| x.gt(0.0).select(dz, 0.0))?;
    let guided = relu.with_gradient("x", |[x], _, dz| (x.gt(0.0) & dz.gt(0.0)).select(dz, 0.0))?;
    let mask = |op: &Op| op.signature().outputs().iter().any(|output| output.name == "mask");
    assert_eq!([mask(&gated), mask(&guided)], [true, false]);
    let (x, dz) = ([1.0, 1.0, -1.0], [2.0, -2.0, 2.0]);
    assert_eq!(Runner::cpu().backward(&guided, &[&x], &dz)?, [[2.0, 0.0, 0.0]]);
    assert_eq!(Runner::cpu().backward(&gated, &[&x], &dz)?, [[2.0, -2.0, 0.0]]);
    Ok(())
}

/// The results of native arithmetic at 0, where a device's own functions promise nothing.
fn zeros(adapter: &wgpu::Adapter) -> Result<(), Failed> {
    let pow = Op::from_expression("power", "pow(x, y)")?;
    let root = Op::from_expression("root", "sqrt(max(x, 0.0))")?;
    let (x, y) = ([0.0, 0.0, 3.0, 0.0, 1e-40], [0.0, 1.0, 0.0, 2.0, 0.0]);
    for runner in [Runner::cpu(), Runner::on_adapter(adapter)?] {
        let (z, gradients) = runner.fused(&pow, &[&x, &y], &[1.0; 5])?;
        assert_eq!(
            (&z[..], &gradients[0][..]),
            (&[1.0, 0.0, 1.0, 0.0, 1.0][..], &[0.0, 1.0, 0.0, 0.0, 0.0][..])
        );
        assert_eq!(runner.forward(&root, &[&[0.0, -1.0, 4.0]])?, [0.0, 0.0, 2.0]);
    }
    // So little has to be left out.
    let runner = Runner::on_adapter(adapter)?;
    for expression in ["sqrt(max(x, 0.0))", "pow(max(x, 0.0), 2.0)"] {
        let op = Op::from_expression("op", expression)?;
        let inputs = Inputs::Sample { count: 10_000, seed: 1 };
        let report =
            verify(&runner, &op, DType::F32, &inputs, &[Pass::Forward], &mut |_| ControlFlow::Continue(()))?;
        assert_eq!((report.mismatches, report.is_conclusive()), (0, true), "{expression}: {report:?}");
    }
    Ok(())
}

/// An input of one element is a scalar argument. Its gradient is a sum.
fn scalars() -> Result<(), Failed> {
    let op = Op::from_expression("scaled", "x * scale")?;
    let x: Vec<f32> = (0..100_000).map(|i| (i % 7) as f32).collect();
    let ones = vec![1.0; x.len()];
    for scale in [0.5, -3.0] {
        let (z, gradients) = Runner::cpu().fused(&op, &[&x[..], &[scale]], &ones)?;
        assert!(z.iter().zip(&x).all(|(z, x)| *z == x * scale));
        assert!(gradients[0].iter().all(|dx| *dx == scale));
        assert_eq!(gradients[1], [x.iter().sum::<f32>()]);
    }
    Ok(())
}

/// Names that WGSL, the shaders or another operand use, and names that no operand can have.
fn names() -> Result<(), Failed> {
    for name in [
        "",
        "1x",
        "x y",
        "é",
        "fn",
        "let",
        "f32",
        "z",
        "dz",
        "mask",
        "select",
        "f32_add",
        "Outputs",
        "division_step",
        // Their gradients would be `do` and `default`.
        "o",
        "efault",
    ] {
        let error = Op::new("op", [name], |[x]| x).err();
        assert!(matches!(&error, Some(Error::Name { got, .. }) if got == name), "{name}: {error:?}");
    }
    assert!(matches!(Op::new("op", ["x", "x"], |[x, y]| x + y), Err(Error::Name { .. })));
    assert!(matches!(Op::new("op", ["x", "dx"], |[x, y]| x + y), Err(Error::Name { .. })));
    let unknown = spiky()?.with_gradient("y", |[x], _, _| x);
    assert!(matches!(&unknown, Err(Error::Name { got, .. }) if got == "y"), "{unknown:?}");
    assert!(matches!(spiky()?.derivative("y"), Err(Error::Name { .. })));
    // The names that a derivative adds avoid those in use, including those of gradients.
    let op = Op::new("op", ["x", "dupstream", "tangent_x"], |[x, y, w]| x * y * w)?;
    assert_eq!(op.derivative("x")?.signature().inputs()[3], "upstream_2");
    let op = Op::new("op", ["x", "dtangent_x"], |[x, y]| x * y)?;
    assert_eq!(op.jvp()?.signature().inputs()[2..], ["tangent_x_2", "tangent_dtangent_x"]);
    // The names that kernels use for their own things remain free for inputs.
    for name in
        ["element", "params", "main", "len", "base", "i", "index", "group", "v", "v1", "m", "buffer_x", "x_"]
    {
        let op = Op::new("op", [name, "other"], |[x, y]| x.floor_mod(y) * x + 1.0)?;
        for &pass in Pass::ALL {
            let outputs = op.signature().all_outputs(pass);
            let shader = Shader::new(op.signature(), outputs, DType::F16, Access::Vec4)?;
            Shader::check(name, &shader.source)?;
        }
    }
    Ok(())
}

/// Anything over a limit is an error, and anything just within it is not.
fn limits() -> Result<(), Failed> {
    let chain = |links: usize| {
        Op::new("chain", ["x"], |[x]| (0..links).fold(x, |sum, i| (sum * x + i as f32).sqrt()))
    };
    let error = chain(Op::MAX_NODES).err();
    assert!(matches!(error, Some(Error::TooLarge { most: Op::MAX_NODES, .. })), "{error:?}");
    // A graph as large as can be, whose z has an idiom: Storing it rounds, so its branches need not be rounded.
    let rounded = |links: usize| {
        Op::new("rounded", ["x"], |[x]| {
            let v = (0..links).fold(x, |v, _| v.round_to_storage());
            v.le(0.5).select(0.25, v)
        })
    };
    let largest = (1..=Op::MAX_NODES).rev().find_map(|links| rounded(links).ok()).expect("an op");
    let shader = Shader::new(largest.signature(), Outputs::Z, DType::F32, Access::Word)?;
    let picks = shader.source.matches("select(v").count() + shader.source.matches("pick(").count();
    assert!(largest.signature().outputs()[0].expression != "x" && picks > 0, "z is {shader:?}");
    let op = chain(300)?;
    assert_eq!(Runner::cpu().forward(&op, &[&[1.0_f32]])?.len(), 1);
    let none = Op::from_expression("none", "1.0");
    assert!(matches!(&none, Err(Error::Arity { .. } | Error::Wgsl { .. })), "{none:?}");
    let nine = Op::from_expression("nine", "a + b + c + d + e + f + g + h + i");
    assert!(matches!(nine, Err(Error::Wgsl { .. })), "{nine:?}");
    let square = Op::from_expression("square", "x * x")?;
    let wrong = Op::new("wrong", ["x", "y"], |[x, y]| square.call([x, y]));
    assert!(matches!(&wrong, Err(Error::Arity { op, got: 2, need: 1, .. }) if op == "square"), "{wrong:?}");
    let inexact = Op::from_expression("e", "exp(x)")?.with_arithmetic(Arithmetic::Exact);
    assert!(matches!(inexact, Err(Error::Inexact { block: "exp", .. })), "{inexact:?}");
    assert_eq!(op.signature().all_outputs(Pass::Fused), Outputs::Z | Outputs::gradient(0));
    for name in ["", "two\nlines", "two\u{2028}lines"] {
        let error = Op::new(name, ["x"], |[x]| x).err();
        assert!(matches!(error, Some(Error::Name { .. })), "{name}: {error:?}");
    }
    Ok(())
}
