//! Random expressions: ops that nobody thought of. On the CPU they are compared with the reference, and on every
//! adapter with both. Exact arithmetic is compared bit for bit, native arithmetic within its enclosures.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    ops::ControlFlow,
};

use crate::common::{
    Draw, edited,
    expressions::{Step, tame},
    is_full,
};
use elemgrad::{
    Arithmetic, Condition, DType, Error, Expr, Op, Outputs, Pass,
    Primitive::{
        self, Abs, Acos, Acosh, Add, And, Asin, Asinh, Atan, Atan2, Atanh, Cbrt, Ceil, Clamp, Cos, Cosh, Div,
        Eq, Erf, Erfc, Exp, Exp2, Expm1, Floor, FloorMod, FloorQuotient, HighPart, Hypot, InverseSqrt, Le,
        Log, Log1p, Log2, Log10, Lt, Max, Min, Mul, Neg, Not, Or, Pow, QuantizeToF16, Round, RoundToStorage,
        Select, Sigmoid, Sin, Sinh, Softplus, Sqrt, Sub, Tan, Tanh, Trunc, TruncMod,
    },
    Runner,
    check::{Data, Enclosure, GradientOptions, Inputs, VerifyReport, gradient_check, verify},
    shader::Shader,
    wgpu,
};
use libtest_mimic::Trial;

/// The number of ops for each arithmetic: `ELEMGRAD_RANDOM_OPS`, or 50.
fn ops() -> u64 {
    std::env::var("ELEMGRAD_RANDOM_OPS").ok().and_then(|count| count.parse().ok()).unwrap_or(50)
}

/// The number of elements that are compared, in calls of several lengths.
const ELEMENTS: u64 = 1 << 13;

type Case = fn(&wgpu::Adapter) -> Result<(), String>;

const CASES: [(&str, Case); 3] = [
    ("native_ops", |a| on(a, Arithmetic::Native)),
    ("exact_ops", |a| on(a, Arithmetic::Exact)),
    ("wrong_multiplication_is_seen", wrong_multiplication_is_seen),
];

type Check = fn() -> Result<(), String>;

const WITHOUT_ADAPTERS: [(&str, Check); 5] = [
    ("all_ops", cpu),
    ("references_are_in_their_enclosures", references_are_in_their_enclosures),
    ("gradients_are_those_of_differences", gradients_are_those_of_differences),
    ("all_building_blocks_occur", all_building_blocks_occur),
    ("both_front_ends_agree", both_front_ends_agree),
];

pub(crate) fn on_adapter(name: &str, adapter: &wgpu::Adapter) -> Vec<Trial> {
    let trial = |(case, run): (&str, Case)| {
        let adapter = adapter.clone();
        Trial::test(format!("{name}: {case}"), move || Ok(run(&adapter)?))
    };
    CASES.map(trial).into()
}

pub(crate) fn on_the_cpu(name: &str) -> Vec<Trial> {
    WITHOUT_ADAPTERS.map(|(case, run)| Trial::test(format!("{name}: {case}"), move || Ok(run()?))).into()
}

// The trials.

fn on(adapter: &wgpu::Adapter, arithmetic: Arithmetic) -> Result<(), String> {
    let runner = Runner::on_adapter(adapter).map_err(text)?;
    let few = if is_full() { recipes(arithmetic) } else { first_of_each_kind(recipes(arithmetic)) };
    check_all(&runner, arithmetic, &few)
}

fn cpu() -> Result<(), String> {
    [Arithmetic::Native, Arithmetic::Exact]
        .into_iter()
        .try_for_each(|a| check_all(&Runner::cpu(), a, &recipes(a)))
}

/// Compares all ops of an arithmetic. For native ops, at most a fifth of the elements may be left out.
fn check_all(runner: &Runner, arithmetic: Arithmetic, recipes: &[Recipe]) -> Result<(), String> {
    let (mut checked, mut left_out) = (0, 0);
    for recipe in recipes {
        let number = recipe.seed;
        let from_text = number % 2 == 1;
        let op = if from_text { recipe.build_from_text(arithmetic) } else { recipe.build(arithmetic) };
        let op = op.map_err(text)?;
        // For half of the ops, two of each front end in turn, only the fused pass runs, because kernels take time to
        // compile.
        let passes = if number % 4 < 2 { Pass::ALL } else { &[Pass::Fused] };
        let report = check(runner, &op, dtype(number), number, passes)
            .map_err(|error| format!("{error}, of\n{}", recipe.wgsl()))?;
        if let Some(mismatch) = report.first.first() {
            return Err(format!("{}: {mismatch}\nof\n{}", report.device, recipe.wgsl()));
        }
        (checked, left_out) = (checked + report.checked, left_out + report.left_out);
    }
    println!("{}: {left_out} of {checked} left out in {} arithmetic", runner.name(), arithmetic.name());
    if left_out * 5 <= checked { Ok(()) } else { Err(format!("{left_out} of {checked} were left out")) }
}

fn check(runner: &Runner, op: &Op, dtype: DType, seed: u64, passes: &[Pass]) -> Result<VerifyReport, String> {
    let inputs = Inputs::Sample { count: ELEMENTS, seed };
    verify(runner, op, dtype, &inputs, passes, &mut |_| ControlFlow::Continue(())).map_err(text)
}

/// The storage types take turns.
fn dtype(number: u64) -> DType {
    DType::ALL[number as usize % DType::ALL.len()]
}

/// The result of IEEE arithmetic is one of those that a device may give.
fn references_are_in_their_enclosures() -> Result<(), String> {
    for (number, recipe) in (0..).zip(recipes(Arithmetic::Native)) {
        let op = recipe.build(Arithmetic::Native).map_err(text)?;
        let (signature, dtype) = (op.signature(), dtype(number));
        let mut columns = vec![vec![0.0; 500]; signature.upstream() + 1];
        Data::of(&op, true).fill(dtype, number, 0, &mut columns);
        for i in 0..500 {
            let reads: Vec<f32> = columns.iter().map(|column| column[i]).collect();
            let mut values = vec![0.0; signature.write_count()];
            let mut enclosures = vec![Enclosure::Exact(0.0); values.len()];
            op.reference(dtype, &reads, &mut values);
            op.enclose(dtype, &reads, &mut enclosures);
            for (w, (value, enclosure)) in values.iter().zip(enclosures).enumerate() {
                if !enclosure.allows(*value) {
                    let output = &*signature.outputs()[w].name;
                    return Err(format!(
                        "{output} is {value:e}, not {enclosure}, of {reads:?} in\n{}",
                        recipe.wgsl()
                    ));
                }
            }
        }
    }
    Ok(())
}

fn gradients_are_those_of_differences() -> Result<(), String> {
    let (mut checked, mut left_out) = (0, 0);
    for (number, recipe) in (0..).zip([Arithmetic::Native, Arithmetic::Exact].into_iter().flat_map(recipes)) {
        let op = recipe.build(Arithmetic::Native).map_err(text)?;
        let mut columns = vec![vec![0.0; 100]; op.signature().upstream() + 1];
        Data::of(&op, true).fill(DType::F32, number, 0, &mut columns);
        let inputs = &columns[..op.signature().upstream()];
        let report = gradient_check(&op, inputs, &GradientOptions::default()).map_err(text)?;
        if let Some(comparison) = report.first.first() {
            return Err(format!("{comparison}\nof\n{}", recipe.wgsl()));
        }
        (checked, left_out) = (checked + report.checked, left_out + report.left_out.total());
    }
    println!("{left_out} of {} gradients left out", checked + left_out);
    if left_out * 4 <= checked { Ok(()) } else { Err(format!("{left_out} left out, {checked} checked")) }
}

/// A product that is off by 8 ULP is seen, alone and as an operand of other building blocks.
fn wrong_multiplication_is_seen(adapter: &wgpu::Adapter) -> Result<(), String> {
    const OFF: &str = "fn off_mul(a: u32, b: u32) -> u32 { return native_mul(a, b) + 8u; }";
    let runner = Runner::on_adapter(adapter).map_err(text)?;
    let alone = Op::new("product", ["x", "y"], |[x, y]| x * y);
    let inside = Op::new("inside", ["x", "y"], |[x, y]| ((x * y + 1.0) * x).max(y) / 3.0);
    for right in [alone, inside] {
        let right = right.map_err(text)?;
        let off = edited(&right, |source| source.replace("native_mul(", "off_mul("), &[OFF])?;
        for (op, is_wrong) in [(right, false), (off, true)] {
            let report = check(&runner, &op, DType::F32, 1, Pass::ALL)?;
            if is_wrong != (report.mismatches * 2 > report.checked) || !is_wrong && report.mismatches > 0 {
                return Err(format!("{}: {} of {} mismatch", op.name(), report.mismatches, report.checked));
            }
        }
    }
    Ok(())
}

/// A building block that is never drawn would never be compared.
fn all_building_blocks_occur() -> Result<(), String> {
    for arithmetic in [Arithmetic::Native, Arithmetic::Exact] {
        let recipes = recipes(arithmetic);
        for primitive in Primitive::ALL.iter().filter(|primitive| primitive.example().is_some()) {
            let is_it = |step: &Step| matches!(step, Step::Apply(applied, _) if applied == primitive);
            let count = recipes.iter().filter(|recipe| recipe.steps.iter().any(is_it)).count();
            let wanted = arithmetic == Arithmetic::Native || primitive.has_exact_form();
            if wanted != (count > 0) {
                return Err(format!("{} is in {count} {} ops", primitive.name(), arithmetic.name()));
            }
        }
    }
    Ok(())
}

/// An op and its WGSL text are the same op: one WGSL, but for the order of what does not depend on each other, since
/// the compiler of texts reorders the operands of `||`.
fn both_front_ends_agree() -> Result<(), String> {
    for recipe in [Arithmetic::Native, Arithmetic::Exact].into_iter().flat_map(recipes) {
        let op = recipe.build(Arithmetic::Native).map_err(text)?;
        let same = recipe.build_from_text(Arithmetic::Native).map_err(text)?;
        if structure(&op).map_err(text)? != structure(&same).map_err(text)? {
            return Err(format!("not the same:\n{}", recipe.wgsl()));
        }
    }
    Ok(())
}

/// The lines of an op's WGSL that are no `let`. Each name is replaced by a hash of what it stands for, so neither the
/// order nor the names of the lets count.
fn structure(op: &Op) -> Result<Vec<String>, Error> {
    let outputs = Outputs::present((0..op.signature().write_count()).map(|_| true));
    let wgsl = Shader::functions(op.signature(), outputs, DType::F32)?;
    let (mut known, mut lines) = (HashMap::<&str, String>::new(), Vec::new());
    for line in wgsl.lines() {
        let words = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let replaced: String = words
            .map(|word| {
                let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                known.get(name).map_or_else(|| word.to_owned(), |hash| hash.clone() + &word[name.len()..])
            })
            .collect();
        match line.trim().strip_prefix("let ").and_then(|bound| bound.split_once(" = ")) {
            Some((name, _)) => {
                let (_, value) = replaced.split_once(" = ").expect("an equals sign");
                let mut hasher = DefaultHasher::new();
                value.hash(&mut hasher);
                known.insert(name, format!("#{:x}", hasher.finish()));
            }
            None => lines.push(replaced),
        }
    }
    Ok(lines)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

// Random ops.

fn recipes(arithmetic: Arithmetic) -> Vec<Recipe> {
    (0..ops()).map(|seed| Recipe::draw(arithmetic, seed)).collect()
}

/// The ops that bring a building block, storage type or front end that the ops before them lack.
fn first_of_each_kind(mut recipes: Vec<Recipe>) -> Vec<Recipe> {
    let mut seen = HashSet::new();
    recipes.retain(|recipe| {
        let blocks = recipe.steps.iter().filter_map(|step| match step {
            Step::Apply(primitive, _) => Some(*primitive),
            _ => None,
        });
        // Front ends, storage types and passes repeat after six.
        let is_first = recipe.seed < 6;
        blocks.fold(is_first, |is_new, block| seen.insert(block) || is_new)
    });
    recipes
}

/// A random expression.
struct Recipe {
    seed: u64,
    inputs: usize,
    steps: Vec<Step>,
}

const INPUTS: [&str; 8] = ["x", "y", "a", "b", "c", "p", "q", "w"];

impl Recipe {
    fn draw(arithmetic: Arithmetic, seed: u64) -> Self {
        let mut draw = Draw::new(seed << 1 | u64::from(arithmetic == Arithmetic::Exact));
        let inputs = draw.pick(&[1, 1, 2, 2, 2, 3, 3, 4, 4, 8]);
        let len = inputs + 2 + draw.below(16);
        Self { seed, inputs, steps: tame(draw, arithmetic == Arithmetic::Exact, inputs, len) }
    }

    fn build(&self, arithmetic: Arithmetic) -> Result<Op, Error> {
        let op = match self.inputs {
            1 => self.build_of::<1>(),
            2 => self.build_of::<2>(),
            3 => self.build_of::<3>(),
            4 => self.build_of::<4>(),
            _ => self.build_of::<8>(),
        };
        op?.with_arithmetic(arithmetic)
    }

    fn build_from_text(&self, arithmetic: Arithmetic) -> Result<Op, Error> {
        Op::from_wgsl(self.name(), &self.wgsl())?.with_arithmetic(arithmetic)
    }

    fn name(&self) -> String {
        format!("random_{}", self.seed)
    }

    fn build_of<const N: usize>(&self) -> Result<Op, Error> {
        let names = std::array::from_fn(|i| INPUTS[i]);
        Op::new::<N>(self.name(), names, |inputs| self.value(&inputs))
    }

    fn value<'g>(&self, inputs: &[Expr<'g>]) -> Expr<'g> {
        let mut values: Vec<Value> = Vec::new();
        for step in &self.steps {
            let value = match step {
                Step::Input(input) => Value::Number(inputs[*input]),
                Step::Number(number) => Value::Constant(*number),
                Step::Truth(_) => unreachable!("no tame expression has one"),
                Step::Apply(primitive, operands) => {
                    apply(*primitive, &operands.iter().map(|o| values[*o]).collect::<Vec<_>>())
                }
            };
            values.push(value);
        }
        values.last().and_then(|value| value.number()).unwrap_or(inputs[0])
    }

    /// The same op in WGSL.
    fn wgsl(&self) -> String {
        let inputs: Vec<_> = INPUTS[..self.inputs].iter().map(|name| format!("{name}: f32")).collect();
        let mut text = format!("fn forward({}) -> f32 {{\n", inputs.join(", "));
        let mut names: Vec<String> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            names.push(match step {
                Step::Input(input) => INPUTS[*input].to_owned(),
                Step::Number(number) => format!("{number:?}f"),
                Step::Truth(_) => unreachable!("no tame expression has one"),
                Step::Apply(primitive, operands) => {
                    let operands: Vec<_> = operands.iter().map(|o| &*names[*o]).collect();
                    let _ = match (primitive, &operands[..], i % 3) {
                        // A choice by statements is a select too.
                        (Select, [c, a, b], 1) => {
                            writeln!(text, "    var v{i} = {b}; if {c} {{ v{i} = {a}; }}")
                        }
                        (Select, [c, a, b], 2) => writeln!(text, "    let v{i} = choose({c}, {a}, {b});"),
                        _ => writeln!(text, "    let v{i} = {};", in_wgsl(*primitive, &operands)),
                    };
                    format!("v{i}")
                }
            });
        }
        let _ = writeln!(text, "    return {};\n}}", names.last().map_or("x", |name| name));
        text + "fn choose(c: bool, a: f32, b: f32) -> f32 { if c { return a; } return b; }\n"
    }
}

#[derive(Clone, Copy)]
enum Value<'g> {
    Number(Expr<'g>),
    Constant(f32),
    Truth(Condition<'g>),
}

impl<'g> Value<'g> {
    fn number(self) -> Option<Expr<'g>> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    fn truth(self) -> Option<Condition<'g>> {
        if let Self::Truth(truth) = self { Some(truth) } else { None }
    }
}

/// A building block of operands of the right types. The first number is not a constant.
fn apply<'g>(primitive: Primitive, operands: &[Value<'g>]) -> Value<'g> {
    // The last operand, an expression or a constant.
    macro_rules! last {
        ($last:ident => $value:expr) => {
            match operands[operands.len() - 1] {
                Value::Constant($last) => $value,
                other => {
                    let $last = other.number().expect("a number");
                    $value
                }
            }
        };
    }
    let truth = |i: usize| operands[i].truth().expect("a truth value");
    if matches!(primitive, Not | And | Or) {
        return Value::Truth(match primitive {
            Not => !truth(0),
            And => truth(0) & truth(1),
            _ => truth(0) | truth(1),
        });
    }
    let a = operands[usize::from(primitive == Select)].number().expect("an expression");
    Value::Number(match primitive {
        Lt => return Value::Truth(last!(b => a.lt(b))),
        Le => return Value::Truth(last!(b => a.le(b))),
        Eq => return Value::Truth(last!(b => a.eq(b))),
        Select => last!(b => truth(0).select(a, b)),
        Add => last!(b => a + b),
        Sub => last!(b => a - b),
        Mul => last!(b => a * b),
        Div => last!(b => a / b),
        Min => last!(b => a.min(b)),
        Max => last!(b => a.max(b)),
        FloorMod => last!(b => a.floor_mod(b)),
        FloorQuotient => last!(b => a.floor_quotient(b)),
        TruncMod => last!(b => a.trunc_mod(b)),
        Pow => last!(b => a.pow(b)),
        Atan2 => last!(b => a.atan2(b)),
        Hypot => last!(b => a.hypot(b)),
        Clamp => {
            let end = |i: usize| match operands[i] {
                Value::Constant(value) => a.constant(value),
                other => other.number().expect("a number"),
            };
            a.clamp(end(1), end(2))
        }
        Neg => -a,
        Abs => a.abs(),
        Floor => a.floor(),
        Ceil => a.ceil(),
        Round => a.round(),
        Trunc => a.trunc(),
        Sqrt => a.sqrt(),
        InverseSqrt => a.inverse_sqrt(),
        Cbrt => a.cbrt(),
        Exp => a.exp(),
        Exp2 => a.exp2(),
        Expm1 => a.expm1(),
        Log => a.log(),
        Log2 => a.log2(),
        Log10 => a.log10(),
        Log1p => a.log1p(),
        Sin => a.sin(),
        Cos => a.cos(),
        Tan => a.tan(),
        Asin => a.asin(),
        Acos => a.acos(),
        Atan => a.atan(),
        Sinh => a.sinh(),
        Cosh => a.cosh(),
        Tanh => a.tanh(),
        Asinh => a.asinh(),
        Acosh => a.acosh(),
        Atanh => a.atanh(),
        Erf => a.erf(),
        Erfc => a.erfc(),
        Sigmoid => a.sigmoid(),
        Softplus => a.softplus(),
        QuantizeToF16 => a.quantize_to_f16(),
        HighPart => a.high_part(),
        RoundToStorage => a.round_to_storage(),
        // A new block has to be built as what it is.
        other => panic!("{} is not built here", other.name()),
    })
}

fn in_wgsl(primitive: Primitive, operands: &[&str]) -> String {
    let infix = |operator: &str| format!("{} {operator} {}", operands[0], operands[1]);
    match primitive {
        Add => infix("+"),
        Sub => infix("-"),
        Mul => infix("*"),
        Div => infix("/"),
        TruncMod => infix("%"),
        Lt => infix("<"),
        Le => infix("<="),
        Eq => infix("=="),
        And => infix("&&"),
        Or => infix("||"),
        Not => format!("!{}", operands[0]),
        Neg => format!("-({})", operands[0]),
        Select => format!("select({}, {}, {})", operands[2], operands[1], operands[0]),
        _ => format!("{}({})", primitive.name(), operands.join(", ")),
    }
}
