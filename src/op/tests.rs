//! What holds for every graph. Random expressions are compared with their evaluation and differentiation without any
//! simplification.

use crate::{
    blocks::{
        Builder, Id,
        Primitive::{
            self, Abs, Acos, Acosh, Add, Asin, Asinh, Atan, Atan2, Atanh, Cbrt, Clamp, Cos, Cosh, Div, Erf,
            Erfc, Exp, Exp2, Expm1, FloorMod, FloorQuotient, Guard, HighPart, Hypot, InverseSqrt, Log, Log1p,
            Log2, Log10, Max, Min, Mul, Neg, Pow, QuantizeToF16, RoundToStorage, Select, Sigmoid, Sin, Sinh,
            Softplus, Sqrt, Sub, Tan, Tanh, TruncMod,
        },
        Type,
    },
    check::Data,
    common::{
        Draw,
        expressions::{Step, Type as Drawn, any, operand},
    },
    dtype::DType,
    error::Error,
    expr::{
        Arithmetic, Expr,
        definition::Definition,
        graph::{Graph, Node},
    },
    numeric::NAN,
    op::Op,
    signature::outputs::Outputs,
};

const INPUTS: usize = 3;

/// The tests draw expressions without seeing the rows.
#[test]
fn steps_have_the_types_of_the_rows() {
    for primitive in Primitive::ALL {
        let row = primitive.row();
        let of = |ty: Type| if ty == Type::Truth { Drawn::Truth } else { Drawn::Number };
        assert_eq!(Step::Apply(*primitive, Vec::new()).ty(), of(row.gives), "{}", row.name);
        for (place, ty) in row.operands.iter().enumerate() {
            assert_eq!(operand(*primitive, place), of(*ty), "{} {place}", row.name);
        }
    }
}

/// The last step's node.
fn build(graph: &mut Graph, steps: &[Step]) -> Id {
    let mut ids: Vec<Id> = Vec::new();
    for step in steps {
        let id = match step {
            Step::Input(input) => graph.read(*input),
            Step::Number(value) => graph.number(*value),
            Step::Truth(value) => graph.truth(*value),
            Step::Apply(primitive, operands) => {
                let operands: Vec<Id> = operands.iter().map(|step| ids[*step]).collect();
                graph.apply(*primitive, &operands)
            }
        };
        ids.push(id);
    }
    ids[ids.len() - 1]
}

fn op(steps: &[Step]) -> Result<Op, Error> {
    let inputs = ["x", "y", "w"].map(str::to_owned).to_vec();
    let definition = Definition::new("drawn".into(), inputs, |reads| {
        let graph = reads[0].graph;
        let id = build(&mut graph.borrow_mut(), steps);
        Ok(Expr::new(graph, id))
    })?;
    Op::of(definition, Arithmetic::Native)
}

/// The last step's value, computed step by step.
fn value(steps: &[Step], dtype: DType, reads: &[f32]) -> f32 {
    let mut values: Vec<f32> = Vec::new();
    for step in steps {
        values.push(match step {
            Step::Input(input) => reads[*input],
            Step::Number(value) if value.is_nan() => NAN,
            Step::Number(value) => *value,
            Step::Truth(value) => f32::from(*value),
            Step::Apply(primitive, operands) => {
                let mut of = [0.0; 3];
                of.iter_mut().zip(operands).for_each(|(of, step)| *of = values[*step]);
                primitive.compute(dtype, of)
            }
        });
    }
    values[values.len() - 1]
}

/// Inputs and upstream gradients of all kinds, element by element.
fn elements(dtype: DType, seed: u64, len: usize) -> Vec<Vec<f32>> {
    let mut columns = vec![vec![0.0; len]; INPUTS + 1];
    let data = if seed.is_multiple_of(2) { Data::Mix } else { Data::Ordinary };
    data.fill(dtype, seed, 0, &mut columns);
    (0..len).map(|i| columns.iter().map(|column| column[i]).collect()).collect()
}

fn outputs(op: &Op, dtype: DType, reads: &[f32]) -> Vec<f32> {
    let mut writes = vec![0.0; op.signature().write_count()];
    op.reference(dtype, reads, &mut writes);
    writes
}

#[test]
fn folding_and_sharing_keep_the_bits() -> Result<(), Error> {
    let mut draw = Draw::new(61);
    for round in 0..3000 {
        let len = 6 + draw.below(30);
        let (steps, dtype) = (any(&mut draw, INPUTS, len), draw.pick(DType::ALL));
        let op = op(&steps)?;
        for reads in elements(dtype, round, 20) {
            let (got, right) = (outputs(&op, dtype, &reads)[0], value(&steps, dtype, &reads));
            assert_eq!(got.to_bits(), right.to_bits(), "{got:e} {right:e} {dtype:?} {reads:?} {steps:?}");
        }
    }
    Ok(())
}

#[test]
fn what_is_there_is_not_added_again() {
    let mut draw = Draw::new(62);
    for _ in 0..500 {
        let steps = any(&mut draw, INPUTS, 40);
        let mut graph = Graph::new(INPUTS + 1);
        let first = build(&mut graph, &steps);
        let len = graph.len();
        assert_eq!((build(&mut graph, &steps), graph.len()), (first, len), "{steps:?}");
        let before_operands = |(id, _): (Id, Node)| graph.operands(id).all(|operand| operand < id);
        assert!(graph.nodes().all(before_operands), "{steps:?}");
    }
}

/// The gradients of one element. A gradient that is not passed is absent. The others are added in the order of the
/// nodes.
fn gradients(op: &Op, dtype: DType, reads: &[f32]) -> Vec<f32> {
    let function = op.function().expect("an expression");
    let (graph, last) = (&function.graph, function.z.index());
    let mut values = vec![0.0; last + 1];
    let compute = |primitive: Primitive, a: f32, b: f32| primitive.compute(dtype, [a, b, 0.0]);
    for (id, node) in graph.nodes().take(last + 1) {
        values[id.index()] = match node {
            Node::Read(read) => reads[read],
            Node::Number(bits) => f32::from_bits(bits),
            Node::Truth(value) => f32::from(value),
            Node::Apply(primitive, operands) => {
                primitive.compute(dtype, operands.map(|operand| values[operand.index()]))
            }
            Node::Written(_, value) => values[value.index()],
        };
    }
    let mut sums: Vec<Option<f32>> = vec![None; last + 1];
    sums[last] = Some(reads[INPUTS]);
    let nodes: Vec<_> = graph.nodes().take(last + 1).collect();
    for (id, node) in nodes.into_iter().rev() {
        let (Some(g), Node::Apply(primitive, operands)) = (sums[id.index()], node) else { continue };
        let operands = operands.map(|operand| values[operand.index()]);
        for (place, operand) in graph.operands(id).enumerate() {
            let Some(passed) = passed(primitive, place, operands, values[id.index()], g, compute) else {
                continue;
            };
            let sum = &mut sums[operand.index()];
            *sum = Some(sum.map_or(passed, |before| compute(Add, before, passed)));
        }
    }
    let read = |read| graph.nodes().position(|(_, node)| node == Node::Read(read));
    let sum = |input| read(input).and_then(|id| sums.get(id).copied().flatten());
    (0..INPUTS).map(|input| sum(input).unwrap_or(0.0)).collect()
}

/// The table of derivatives, for one element.
fn passed(
    primitive: Primitive,
    place: usize,
    [a, b, c]: [f32; 3],
    z: f32,
    g: f32,
    compute: impl Fn(Primitive, f32, f32) -> f32,
) -> Option<f32> {
    let of = |primitive, a| compute(primitive, a, 0.0);
    let mul = |a, b| compute(Mul, a, b);
    let div = |a, b| compute(Div, a, b);
    let [neg, square] = [|a: f32| -a, |a: f32| a * a];
    let (ln_2, ln_10) = (std::f64::consts::LN_2, std::f64::consts::LN_10);
    let guarded = |v: f32| if g == 0.0 && v.is_nan() { 0.0 } else { v };
    let times = |rate: f32| Some(guarded(mul(g, rate)));
    let over = |inverse: f32| Some(guarded(div(g, inverse)));
    match (primitive, place) {
        (Add | RoundToStorage | QuantizeToF16 | HighPart, _)
        | (Sub | FloorMod | TruncMod, 0)
        | (Guard, 1) => Some(g),
        (Sub | Neg, _) => Some(neg(g)),
        (Mul, 0) => times(b),
        (Mul, _) => times(a),
        (Div, 0) => over(b),
        (Div, _) => Some(guarded(mul(div(g, b), neg(z)))),
        (Abs, _) if a > 0.0 => Some(g),
        (Abs, _) if a < 0.0 => Some(neg(g)),
        (Min | Max, _) if a == b => Some(mul(g, 0.5)),
        (Min, 0) | (Max, 1) if a < b => Some(g),
        (Min, 1) | (Max, 0) if b < a => Some(g),
        (Clamp, 0) if b <= a && a <= c => Some(g),
        (Clamp, 1) if a < b && b <= c => Some(g),
        (Clamp, 2) if c < a || c < b => Some(g),
        (FloorMod, _) => Some(mul(g, neg(compute(FloorQuotient, a, b)))),
        (TruncMod, _) => {
            let quotient = compute(FloorQuotient, a.abs(), b.abs());
            Some(mul(g, if (a < 0.0) == (b < 0.0) { neg(quotient) } else { quotient }))
        }
        (Sqrt, _) => Some(guarded(div(mul(g, 0.5), z))),
        (InverseSqrt, _) => times(div(mul(-0.5, z), a)),
        (Cbrt, _) => over(mul(3.0, square(z))),
        (Exp, _) => times(z),
        (Exp2, _) if a >= 128.0 => times(mul((2.0 * ln_2) as f32, of(Exp2, a - 1.0))),
        (Exp2, _) => times(mul(ln_2 as f32, z)),
        (Expm1, _) => times(of(Exp, a)),
        (Log, _) => over(a),
        (Log2, _) => times(div((1.0 / ln_2) as f32, a)),
        (Log10, _) => times(div((1.0 / ln_10) as f32, a)),
        (Log1p, _) => over(1.0 + a),
        (Pow, 0) if b == 0.0 => times(0.0),
        (Pow, 0) => {
            let power = compute(Pow, a.abs(), b - 1.0);
            times(mul(b, if a < 0.0 && b % 2.0 == 0.0 { neg(power) } else { power }))
        }
        (Pow, _) if a < 0.0 || a == 0.0 && b >= 0.0 => None,
        (Pow, _) => times(mul(z, of(Log, a))),
        (Sin, _) => times(of(Cos, a)),
        (Cos, _) => times(neg(of(Sin, a))),
        (Tan, _) => times(1.0 + square(z)),
        (Asin, _) => over(of(Sqrt, (1.0 - a) * (1.0 + a))),
        (Acos, _) => over(neg(of(Sqrt, (1.0 - a) * (1.0 + a)))),
        (Atan, _) => over(1.0 + square(a)),
        (Sinh, _) => times(of(Cosh, a)),
        (Cosh, _) => times(of(Sinh, a)),
        (Tanh, _) => {
            let power = of(Exp, -2.0 * a.abs());
            times(div(4.0 * power, square(1.0 + power)))
        }
        (Asinh, _) => over(compute(Hypot, a, 1.0)),
        (Acosh, _) => over(mul(of(Sqrt, a - 1.0), of(Sqrt, a + 1.0))),
        (Atanh, _) => over((1.0 - a) * (1.0 + a)),
        (Erf | Erfc, _) => {
            let x = compute(Min, a.abs(), 16.0);
            let high = of(HighPart, x);
            let factor = std::f64::consts::FRAC_2_SQRT_PI as f32;
            let bell = mul(mul(factor, of(Exp, -square(high))), of(Exp, -((x - high) * (x + high))));
            times(if primitive == Erf { bell } else { neg(bell) })
        }
        (Sigmoid, _) => times(mul(z, of(Sigmoid, neg(a)))),
        (Softplus, _) => times(of(Sigmoid, a)),
        (Hypot | Atan2, _) => {
            let (this, other) = if place == 0 { (a, b) } else { (b, a) };
            let (larger, smaller) = (compute(Max, a.abs(), b.abs()), compute(Min, a.abs(), b.abs()));
            let t = div(smaller, larger);
            let (is_larger, below, sign) = if primitive == Hypot {
                (this.abs() >= other.abs(), of(Sqrt, 1.0 + square(t)), this)
            } else {
                (
                    this.abs() <= other.abs(),
                    larger * (1.0 + square(t)),
                    if place == 0 { other } else { neg(other) },
                )
            };
            let size = div(if is_larger { 1.0 } else { t }, below);
            times(if larger == 0.0 {
                0.0
            } else if sign < 0.0 {
                neg(size)
            } else {
                size
            })
        }
        (Select, 1) if a != 0.0 => Some(g),
        (Select, 2) if a == 0.0 => Some(g),
        _ => None,
    }
}

/// Zeros of either sign count as equal: where nothing passes, +0 is added.
#[test]
fn gradients_are_the_table_applied_node_by_node() -> Result<(), Error> {
    let mut draw = Draw::new(63);
    let mut passed = 0;
    for round in 0..3000 {
        let len = 6 + draw.below(30);
        let (steps, dtype) = (any(&mut draw, INPUTS, len), draw.pick(DType::ALL));
        let op = op(&steps)?;
        for reads in elements(dtype, round, 20) {
            let (got, right) = (outputs(&op, dtype, &reads), gradients(&op, dtype, &reads));
            for (got, right) in got[1..].iter().zip(&right) {
                let same = got == right || got.is_nan() && right.is_nan();
                assert!(same, "{got:e} {right:e} {dtype:?} {reads:?} {steps:?}");
                passed += u32::from(right.is_normal());
            }
        }
    }
    assert!(passed > 10_000, "{passed} gradients say something");
    Ok(())
}

/// Upstream gradients of any bits, among them a NaN with a payload and a signalling NaN.
const ANY: [u32; 8] =
    [0x3fc00000, 0x80000000, 0x00000001, 0x7f800000, 0x7fc00000, 0xffc12345, 0x7f800001, 0xff7fffff];

#[test]
fn a_gradient_that_is_only_passed_on_keeps_its_bits() -> Result<(), Error> {
    type Z = for<'g> fn([Expr<'g>; 2]) -> Expr<'g>;
    let passes: [(&str, Z); 7] = [
        ("sum", |[x, y]| x + y),
        ("difference", |[x, y]| x - y),
        ("times one", |[x, y]| 1.0 * x * 1.0 + y.floor()),
        ("rounded", |[x, y]| x.round_to_storage() + y),
        ("mod", |[x, y]| x.floor_mod(y)),
        ("unused", |[x, y]| y.trunc() + x),
        ("both branches", |[x, y]| y.lt(0.0).select(x, x + y)),
    ];
    for (name, z) in passes {
        let op = Op::new("op", ["x", "y"], z)?;
        assert_eq!(op.signature().alias(1), Some(2), "{name}: dx is dz");
        for dz in ANY {
            let dx = outputs(&op, DType::F32, &[0.3, -2.0, f32::from_bits(dz)])[1];
            assert_eq!(dx.to_bits(), dz, "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_branch_that_is_not_taken_passes_zero() -> Result<(), Error> {
    let dead = Op::new("dead", ["x", "y"], |[x, y]| {
        let nan = (x.log() + x.sqrt()) * y.pow(x) / (x - x);
        x.gt(0.0).select(nan, y)
    })?;
    for dz in ANY {
        let writes = outputs(&dead, DType::F32, &[-1.0, 2.0, f32::from_bits(dz)]);
        assert_eq!([writes[1].to_bits(), writes[2].to_bits()], [0, dz], "dx is +0, dy is dz");
    }
    // Nested, in the other branch, and over several paths.
    let nested = Op::new("nested", ["x", "y"], |[x, y]| {
        let live = y.gt(5.0).select(x.sqrt() * y, y.le(1.0).select(x.log(), x));
        x.lt(0.0).select(live, x.sqrt()) + y
    })?;
    let writes = outputs(&nested, DType::F32, &[-1.0, 2.0, 1.5]);
    assert_eq!(writes[..3], [1.0, 1.5, 1.5]);
    assert_eq!(op(&[Step::Input(0), Step::Input(1), Step::Number(4.0)])?.signature().alias(1), None);
    Ok(())
}

/// A select between the upstream gradient and +0 is a gate. A saved mask can stand for it.
#[test]
fn gates_are_found() -> Result<(), Error> {
    let spiky = Op::new("spiky", ["x"], |[x]| x.spiky())?;
    let signature = spiky.signature();
    assert!(signature.gated_by_mask(Outputs::gradient(0)), "{:?}", signature.outputs());
    let relu = Op::new("relu", ["x"], |[x]| x.gt(0.0).select(x, 0.0))?;
    assert!(relu.signature().gated_by_mask(Outputs::gradient(0)));
    let square = Op::new("square", ["x"], |[x]| x * x)?;
    assert!(!square.signature().gated_by_mask(Outputs::gradient(0)));
    Ok(())
}
