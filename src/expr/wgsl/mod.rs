//! WGSL text as an op: naga parses it, and what it says is lowered into the graph that Rust expressions make.

use std::{collections::HashSet, thread};

use wgpu::naga::{
    Module,
    front::wgsl::parse_str,
    keywords::wgsl::RESERVED,
    valid::{Capabilities, ValidationFlags, Validator},
};

use super::CustomOp;
use crate::{Error, shader::tokens::words};

mod builtins;
mod lower;
mod source;

use builtins::DECLARATIONS;
use lower::Lowering;
use source::Source;

pub use source::MAX_TEXT;

/// The stack of the thread that compiles a text: several times what the deepest text that is let through takes, without
/// optimization too.
const STACK: usize = 32 << 20;

impl CustomOp {
    /// An op of WGSL text: its inputs are the parameters of `fn forward`, and `fn d_x`, where there is one, is the gradient
    /// that you write for the input `x`.
    ///
    /// ```
    /// use elemgrad::{CustomOp, Runner};
    ///
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let op = CustomOp::from_wgsl("leaky", "
    ///     const SLOPE = 0.01;
    ///
    ///     fn forward(x: f32, y: f32) -> f32 {
    ///         let r = floor_mod(x, y);
    ///         if r > 0.5 { return r * SLOPE; }
    ///         return r;
    ///     }
    ///
    ///     // A gradient is a function of the inputs, of z and of the upstream gradient, in which it is linear.
    ///     fn d_y(x: f32, y: f32, z: f32, dz: f32) -> f32 {
    ///         return dz * -floor_quotient(x, y);
    ///     }
    /// ")?;
    /// assert_eq!(Runner::cpu().forward(&op, &[&[1.25], &[1.0]])?, [0.25]);
    /// assert_eq!(Runner::cpu().backward(&op, &[&[1.25], &[1.0]], &[1.0])?, [[1.0], [-1.0]]);
    ///
    /// let error = CustomOp::from_wgsl("wrong", "fn forward(x: f32) -> f32 {\n    return x +;\n}").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "wrong: 2:15: expected expression, found \";\"\n        return x +;\n                  ^"
    /// );
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// | WGSL | here |
    /// |---|---|
    /// | `f32`, `bool` | the only types; constants are folded as WGSL says, in the precision of their types |
    /// | `let`, `var`, `const`, assignments, `alias` | as in WGSL |
    /// | `if`, `else if`, `else`, early `return` | both branches are computed, and what is not taken is dropped, its gradient too |
    /// | functions | are inlined; recursion is an error |
    /// | `+ - * /`, unary `-`, `< <= > >= == !=`, `&& \|\| & \| !`, `select` | as in WGSL, with IEEE's special values |
    /// | `x % y` | [`trunc_mod`](super::Expr::trunc_mod), exact |
    /// | `abs min max floor ceil round trunc sqrt exp log sin cos tanh pow` | the [building blocks](super::Primitive) |
    /// | `clamp saturate sign step mix fma fract smoothstep inverseSqrt exp2 log2 tan sinh cosh asinh acosh atanh degrees radians length distance` | of building blocks, by the formulas of WGSL's text; `fma` rounds twice |
    /// | `floor_mod(x, y)`, `floor_quotient(x, y)`, `trunc_mod(x, y)`, `round_to_storage(x)`, `spiky(x)` | not of WGSL: as the methods of [`Expr`](super::Expr) |
    /// | everything else: loops, `switch`, integers, vectors, arrays, structs, bindings, attributes, pointers, derivatives, textures | an error, with line and column |
    ///
    /// A text has at most [`MAX_TEXT`](super::MAX_TEXT) bytes and is at most 1000 operators and brackets deep. It is
    /// compiled on a thread of its own, whose stack is large enough for that. There is no compiler for it on wasm, and
    /// so not this function.
    ///
    /// # Errors
    /// [`Error::Wgsl`] with the place of what cannot be understood, and as [`new`](CustomOp::new).
    pub fn from_wgsl(name: impl Into<String>, text: &str) -> Result<Self, Error> {
        let name = name.into();
        on_own_stack(&Source::new(&name, "", text, ""))
    }

    /// An op of one WGSL expression: its inputs are the names in it that are not called, in the order in which they appear.
    ///
    /// ```
    /// use elemgrad::{CustomOp, Op, Runner};
    ///
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let op = CustomOp::from_expression("tooth", "floor_mod(t, 1.0) * gain")?;
    /// assert_eq!(op.definition().inputs, ["t", "gain"]);
    /// assert_eq!(Runner::cpu().forward(&op, &[&[3.25], &[2.0]])?, [0.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`from_wgsl`](CustomOp::from_wgsl), with line and column in the expression.
    pub fn from_expression(name: impl Into<String>, expression: &str) -> Result<Self, Error> {
        let name = name.into();
        let bare = Source::new(&name, "", expression, "");
        bare.check()?;
        if let Some((at, word)) = words(expression).find(|(_, word)| [";", "{", "}"].contains(word)) {
            return Err(bare.error(at, format!("an expression has no `{word}`")));
        }
        let names = free_names(expression);
        if let Some((at, word)) = names.iter().find(|(_, name)| RESERVED.contains(name)) {
            return Err(bare.error(*at, format!("name `{word}` is a reserved keyword")));
        }
        let parameters = names.iter().map(|(_, name)| format!("{name}: f32")).collect::<Vec<_>>();
        let head = format!("fn forward({}) -> f32 {{ return\n", parameters.join(", "));
        let source = Source::new(&name, &head, expression, "\n; }");
        on_own_stack(&source)
    }
}

/// The names of an expression that are not called, each once, and where.
fn free_names(expression: &str) -> Vec<(usize, &str)> {
    let (mut names, mut seen, mut before) = (Vec::new(), HashSet::from(["true", "false"]), "");
    let mut all = words(expression).peekable();
    while let Some((at, word)) = all.next() {
        let is_name = word.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let called = all.peek().is_some_and(|(_, next)| *next == "(");
        // Behind a point is the rest of a literal.
        if is_name && !called && before != "." && seen.insert(word) {
            names.push((at, word));
        }
        before = word;
    }
    names
}

/// Compiles on a thread of its own: naga recurses, and how much stack the caller has left cannot be known.
///
/// A panic of naga's, of which none is known, would be an error as well.
fn on_own_stack(source: &Source) -> Result<CustomOp, Error> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("wgsl".into()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, || compile(source));
        let thread = thread.map_err(|e| source.error(0, format!("there is no thread to compile on: {e}")))?;
        thread.join().map_err(|_| source.error(0, "the compiler failed on this text"))?
    })
}

fn compile(source: &Source) -> Result<CustomOp, Error> {
    source.check()?;
    let full = source.followed_by(DECLARATIONS);
    let module = parse_str(&full).map_err(|error| source.parse_error(&error))?;
    let op = lower(source, &module)?;
    // What has been lowered is valid; what nothing calls may not be.
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
    validator.validate(&module).map_err(|error| source.invalid(&error))?;
    Ok(op)
}

/// The op of a module: `forward`, then the gradients that are written.
fn lower(source: &Source, module: &Module) -> Result<CustomOp, Error> {
    let lowering = Lowering { source, module };
    let inputs = lowering.inputs()?;
    let op = CustomOp::build(source.op.into(), &inputs, |reads| lowering.call("forward", reads));
    let mut op = op.map_err(|error| source.placed(error))?;
    for (gradient, input) in lowering.gradients(&inputs)? {
        let with_gradient = op.with_gradient_of(input, |reads, z, dz| {
            let arguments: Vec<_> = reads.iter().copied().chain([z, dz]).collect();
            lowering.call(gradient, &arguments)
        });
        op = with_gradient.map_err(|error| source.placed(error))?;
    }
    Ok(op)
}
