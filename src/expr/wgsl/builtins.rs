//! WGSL's functions and operators in building blocks: the block of the same name, or the formula that WGSL gives.

use std::sync::LazyLock;

use wgpu::naga::{BinaryOperator, MathFunction};

use super::value::Value::{self, Number, Truth};
use crate::{
    blocks::{Notation, Primitive},
    expr::{Condition, Expr},
};

/// Declares our own functions to naga. A call is lowered by its name, and the bodies are not read.
///
/// The declarations follow the user's text, so the lines of the text keep their numbers. The first declaration takes
/// up an attribute that may end the text.
pub(super) static DECLARATIONS: LazyLock<String> = LazyLock::new(|| {
    let declare = |(name, arity): (&str, usize)| {
        let parameters = ["x: f32", "y: f32", "w: f32"][..arity].join(", ");
        format!("fn {name}({parameters}) -> f32 {{ return x; }}\n")
    };
    format!("\nconst_assert true;\n{}", own().map(declare).collect::<String>())
});

/// The names of our own functions, and how many numbers each takes.
pub(super) fn own() -> impl Iterator<Item = (&'static str, usize)> {
    let blocks = Primitive::ALL.iter().filter(|p| p.row().notation == Notation::Own);
    blocks.map(|p| (p.name(), p.arity())).chain([("spiky", 1), ("stop_gradient", 1), ("straight_through", 2)])
}

/// Whether one of our own functions has that name.
pub(super) fn is_own(name: &str) -> bool {
    own().any(|(own, _)| own == name)
}

/// A call of one of our own functions.
pub(super) fn call_own<'g>(name: &str, arguments: &[Expr<'g>]) -> Option<Expr<'g>> {
    match (name, arguments) {
        ("spiky", [x]) => Some(x.spiky()),
        ("stop_gradient", [x]) => Some(x.stop_gradient()),
        ("straight_through", [value, x]) => Some(value.straight_through(*x)),
        _ if is_own(name) => block(name, arguments),
        _ => None,
    }
}

/// The building block of a name, applied to arguments.
fn block<'g>(name: &str, arguments: &[Expr<'g>]) -> Option<Expr<'g>> {
    let primitive = Primitive::called(name, arguments.len())?;
    Some(arguments.first()?.of(primitive, &arguments[1..]))
}

/// A WGSL function. `None` if it is for other types or has no building blocks.
pub(super) fn math<'g>(function: MathFunction, arguments: &[Expr<'g>]) -> Option<Expr<'g>> {
    use MathFunction as F;
    if let Some(value) = block(&name_of(function), arguments) {
        return Some(value);
    }
    Some(match (function, arguments) {
        (F::Length, [x]) => x.abs(),
        (F::Distance, [x, y]) => (*x - *y).abs(),
        (F::Saturate, [x]) => x.clamp(0.0, 1.0),
        (F::Sign, [x]) => x.gt(0.0).select(1.0, x.lt(0.0).select(-1.0, 0.0)),
        (F::Step, [edge, x]) => edge.le(*x).select(1.0, 0.0),
        (F::Mix, [x, y, z]) => *x * (1.0 - *z) + *y * *z,
        (F::SmoothStep, [low, high, x]) => {
            let t = ((*x - *low) / (*high - *low)).clamp(0.0, 1.0);
            t * t * (3.0 - 2.0 * t)
        }
        (F::Fma, [x, y, z]) => *x * *y + *z,
        (F::Fract, [x]) => *x - x.floor(),
        (F::Degrees, [x]) => *x * 57.295_78,
        (F::Radians, [x]) => *x * 0.017_453_292,
        _ => return None,
    })
}

/// `x * 2^exponent`, in factors that f32 has. Only the last product of a number that stays above 0 may be subnormal, so
/// it is rounded once.
pub(super) fn ldexp(x: Expr<'_>, exponent: i32) -> Expr<'_> {
    // Beyond, every f32 is 0 or infinite.
    let exponent = exponent.clamp(-300, 300);
    let whole = 100 * exponent.signum();
    let parts = std::iter::once(exponent % 100).chain((0..exponent.abs() / 100).map(|_| whole));
    parts.filter(|part| *part != 0).fold(x, |product, part| product * (part as f32).exp2())
}

/// WGSL's name for a function of naga: `InverseSqrt` is `inverseSqrt`.
pub(super) fn name_of(function: MathFunction) -> String {
    let mut name = format!("{function:?}");
    name[..1].make_ascii_lowercase();
    name
}

/// A binary operator. `None` if it is for other types.
pub(super) fn binary<'g>(operator: BinaryOperator, left: Value<'g>, right: Value<'g>) -> Option<Value<'g>> {
    use BinaryOperator as B;
    Some(match (operator, left, right) {
        (B::Add, Number(a), Number(b)) => Number(a + b),
        (B::Subtract, Number(a), Number(b)) => Number(a - b),
        (B::Multiply, Number(a), Number(b)) => Number(a * b),
        (B::Divide, Number(a), Number(b)) => Number(a / b),
        (B::Modulo, Number(a), Number(b)) => Number(a.trunc_mod(b)),
        (B::Less, Number(a), Number(b)) => Truth(a.lt(b)),
        (B::LessEqual, Number(a), Number(b)) => Truth(a.le(b)),
        (B::Greater, Number(a), Number(b)) => Truth(a.gt(b)),
        (B::GreaterEqual, Number(a), Number(b)) => Truth(a.ge(b)),
        (B::Equal, Number(a), Number(b)) => Truth(a.eq(b)),
        (B::NotEqual, Number(a), Number(b)) => Truth(a.ne(b)),
        (B::Equal, Truth(a), Truth(b)) => Truth(either(a, b, !b)),
        (B::NotEqual, Truth(a), Truth(b)) => Truth(either(a, !b, b)),
        (B::And | B::LogicalAnd, Truth(a), Truth(b)) => Truth(a & b),
        (B::InclusiveOr | B::LogicalOr, Truth(a), Truth(b)) => Truth(a | b),
        _ => return None,
    })
}

/// How an operator is written.
pub(super) fn symbol(operator: BinaryOperator) -> &'static str {
    use BinaryOperator as B;
    match operator {
        B::Add => "+",
        B::Subtract => "-",
        B::Multiply => "*",
        B::Divide => "/",
        B::Modulo => "%",
        B::Equal => "==",
        B::NotEqual => "!=",
        B::Less => "<",
        B::LessEqual => "<=",
        B::Greater => ">",
        B::GreaterEqual => ">=",
        B::And => "&",
        B::ExclusiveOr => "^",
        B::InclusiveOr => "|",
        B::LogicalAnd => "&&",
        B::LogicalOr => "||",
        B::ShiftLeft => "<<",
        B::ShiftRight => ">>",
    }
}

/// `accept` where the condition holds, else `reject`. Both have the same type.
pub(super) fn merge<'g>(condition: Condition<'g>, accept: Value<'g>, reject: Value<'g>) -> Value<'g> {
    match (accept, reject) {
        (Number(a), Number(b)) => Number(condition.select(a, b)),
        (Truth(a), Truth(b)) => Truth(either(condition, a, b)),
        // Types are compared where values are stored, returned and passed to functions.
        _ => accept,
    }
}

/// [`merge`] for truth values.
pub(super) fn either<'g>(condition: Condition<'g>, a: Condition<'g>, b: Condition<'g>) -> Condition<'g> {
    match (a.is(true), b.is(true)) {
        _ if a.id == b.id => a,
        (true, _) => condition | b,
        (_, true) => !condition | a,
        _ => (condition & a) | (!condition & b),
    }
}
