//! Ops: the computation for each element, and its gradients.

use std::{
    fmt::{Debug, Formatter},
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::{
    blocks::Id,
    compile::{
        Programs,
        bounds::Bounds,
        wgsl::{mask, signature},
    },
    cpu::{block::Block, compute::Compute},
    dtype::DType,
    error::Error,
    expr::{
        Arithmetic, Expr,
        definition::Definition,
        graph::{Failure, Function, MAX_NODES},
        walk::Algebra,
    },
    shader,
    signature::{MAX_INPUTS, MAX_OUTPUTS, Signature, enclosure::Enclosure},
};

pub(crate) mod args;
#[cfg(test)]
mod tests;

/// An elementwise op: an expression and its gradients, each derived from the expression or written by you. Kernels,
/// the CPU path, storage types, broadcasting, checks and benches all follow from these.
///
/// A clone is the same op and costs nothing. Two ops are equal if one is a clone of the other.
///
/// ```
/// use elemgrad::{Op, Runner};
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let square = Op::new("square", ["x"], |[x]| x * x)?;
/// assert_eq!(Runner::cpu().backward(&square, &[&[3.0]], &[1.0])?, [[6.0]]);
///
/// // A step has no gradient to learn from, so a surrogate replaces it.
/// let step = Op::new("step", ["x"], |[x]| x.gt(0.0).select(1.0, 0.0))?
///     .with_gradient("x", |[x], _, dz| dz / ((x.abs() + 1.0) * (x.abs() + 1.0)))?;
/// assert_eq!(Runner::cpu().fused(&step, &[&[1.0]], &[1.0])?, (vec![1.0], vec![vec![0.25]]));
///
/// // Ops compose into one kernel, with gradients for every input.
/// let both = Op::new("both", ["x", "y"], |[x, y]| step.call([square.call([x]) - y]) * 2.0)?;
/// assert_eq!(Runner::cpu().forward(&both, &[&[3.0], &[8.0]])?, [2.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Op(Arc<Inner>);

struct Inner {
    signature: Signature,
    behaviour: Arc<Behaviour>,
    /// Replaces the CPU path in tests.
    #[cfg(test)]
    cpu_path: Option<Box<CpuPath>>,
}

#[cfg(test)]
type CpuPath = dyn Fn(DType, Block) + Send + Sync;

/// What an op computes.
enum Behaviour {
    Expression(Box<Expression>),
    /// The scalar twin of hand-written WGSL.
    Raw(Box<Twin>),
}

type Twin = dyn Fn(DType, &[f32], &mut [f32]) + Send + Sync;

struct Expression {
    /// As it is written.
    definition: Definition,
    arithmetic: Arithmetic,
    /// What it means in this arithmetic.
    function: Arc<Function>,
    /// What both back ends and the reference compute: the function without hand-written calls.
    plain: Function,
    /// Its nodes of all outputs: `z`, the gradients, further outputs, and the condition that gates gradients.
    results: Vec<Id>,
    /// For each node, whether a result depends on it.
    used: Vec<bool>,
    programs: Programs,
}

impl Op {
    /// The maximum number of inputs of an op.
    pub const MAX_INPUTS: usize = MAX_INPUTS;
    /// The maximum number of outputs of an op: `z`, the gradients, a mask, further outputs.
    pub const MAX_OUTPUTS: usize = MAX_OUTPUTS;
    /// The maximum number of nodes of an op's expression, gradients included.
    pub const MAX_NODES: usize = MAX_NODES;
    /// The maximum size in bytes of WGSL text for an op.
    #[cfg(not(target_arch = "wasm32"))]
    pub const MAX_TEXT: usize = crate::expr::wgsl::MAX_TEXT;

    /// Makes an op from the names of its inputs and an expression of them.
    ///
    /// # Errors
    /// - [`Error::Name`]: WGSL or an op does not allow a name.
    /// - [`Error::TooLarge`]: there are more than [`MAX_INPUTS`](Op::MAX_INPUTS) inputs or
    ///   [`MAX_NODES`](Op::MAX_NODES) nodes.
    /// - [`Error::Arity`]: there are no inputs, or an op is called with the wrong number of arguments.
    pub fn new<const N: usize>(
        name: impl Into<String>,
        inputs: [&str; N],
        z: impl for<'g> FnOnce([Expr<'g>; N]) -> Expr<'g>,
    ) -> Result<Self, Error> {
        let inputs = inputs.map(str::to_owned).to_vec();
        let definition =
            Definition::new(name.into(), inputs, |reads| Ok(z(std::array::from_fn(|i| reads[i]))))?;
        Self::of(definition, Arithmetic::Native)
    }

    /// Makes an op from WGSL text. The parameters of `fn forward` are its inputs. An optional `fn d_x` is your own
    /// gradient for the input `x`.
    ///
    /// ```
    /// use elemgrad::{Op, Runner};
    ///
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let op = Op::from_wgsl("leaky", "
    ///     const SLOPE = 0.01;
    ///
    ///     fn forward(x: f32, y: f32) -> f32 {
    ///         let r = floor_mod(x, y);
    ///         if r > 0.5 { return r * SLOPE; }
    ///         return r;
    ///     }
    ///
    ///     // A gradient is a function of the inputs, of z and of the upstream gradient dz. It is linear in dz.
    ///     fn d_y(x: f32, y: f32, z: f32, dz: f32) -> f32 {
    ///         return dz * -floor_quotient(x, y);
    ///     }
    /// ")?;
    /// assert_eq!(Runner::cpu().forward(&op, &[&[1.25], &[1.0]])?, [0.25]);
    /// assert_eq!(Runner::cpu().backward(&op, &[&[1.25], &[1.0]], &[1.0])?, [[1.0], [-1.0]]);
    ///
    /// let error = Op::from_wgsl("wrong", "fn forward(x: f32) -> f32 {\n    return x +;\n}").unwrap_err();
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
    /// | `f32`, `bool` | the only types; constants are folded in the precision of their types, as WGSL specifies |
    /// | `let`, `var`, `const`, assignments, `alias` | as in WGSL |
    /// | `if`, `else if`, `else`, early `return` | both branches run; the one not taken and its gradient are dropped |
    /// | functions | inlined; recursion is an error |
    /// | `+ - * /`, unary `-`, `< <= > >= == !=`, `&& \|\| & \| !`, `select` | as in WGSL, with IEEE's special values |
    /// | `x % y` | [`trunc_mod`](Expr::trunc_mod), exact |
    /// | `abs min max clamp floor ceil round trunc quantizeToF16` | the [building blocks](crate::Primitive) |
    /// | `sqrt inverseSqrt exp exp2 log log2 pow` | the building blocks |
    /// | `sin cos tan asin acos atan atan2`, `sinh cosh tanh asinh acosh atanh` | the building blocks |
    /// | `saturate sign step mix fma fract smoothstep` | WGSL's formulas in building blocks; `fma` rounds twice |
    /// | `degrees radians length distance ldexp` | WGSL's formulas in building blocks |
    /// | `expm1 log1p log10 cbrt hypot erf erfc sigmoid softplus` | not in WGSL: the methods of [`Expr`] |
    /// | `floor_mod(x, y)`, `floor_quotient(x, y)`, `trunc_mod(x, y)` | not in WGSL: the methods of [`Expr`] |
    /// | `round_to_storage(x)`, `high_part(x)`, `spiky(x)` | not in WGSL: the methods of [`Expr`] |
    /// | `stop_gradient(x)`, `straight_through(value, x)` | not in WGSL: the methods of [`Expr`] |
    /// | loops, `switch`, integers, vectors, arrays, structs, bindings, attributes | an error, with line and column |
    /// | pointers, derivatives, textures, everything else | an error, with line and column |
    ///
    /// The text may have at most [`MAX_TEXT`](Op::MAX_TEXT) bytes. Brackets may be 190 deep, blocks 127 deep, and 4000
    /// operators may depend on each other, so a sum or product of thousands of terms needs no brackets. A division of
    /// integer literals is an error, since WGSL drops its fraction.
    ///
    /// The text is compiled on a thread of its own, whose stack is large enough for that. Wasm has no compiler for the
    /// text, so this function does not exist there.
    ///
    /// # Errors
    /// [`Error::Wgsl`] with the place in the text that does not compile, and the errors of [`new`](Op::new).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_wgsl(name: impl Into<String>, text: &str) -> Result<Self, Error> {
        crate::expr::wgsl::from_wgsl(&name.into(), text, |definition| {
            Self::of(definition, Arithmetic::Native)
        })
    }

    /// Makes an op from one WGSL expression. Every name that is not called is an input, in order of first appearance.
    ///
    /// ```
    /// use elemgrad::{Op, Runner};
    ///
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let op = Op::from_expression("tooth", "floor_mod(t, 1.0) * gain")?;
    /// assert_eq!(op.signature().inputs(), ["t", "gain"]);
    /// assert_eq!(Runner::cpu().forward(&op, &[&[3.25], &[2.0]])?, [0.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`from_wgsl`](Op::from_wgsl), with line and column in the expression.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_expression(name: impl Into<String>, expression: &str) -> Result<Self, Error> {
        let make = |definition| Self::of(definition, Arithmetic::Native);
        crate::expr::wgsl::from_expression(&name.into(), expression, make)
    }

    /// Makes an op from hand-written WGSL and its scalar twin. The twin is the CPU path, and every device is compared
    /// with it.
    ///
    /// The twin gets the inputs and the upstream gradient of one element and sets all outputs. A mask is 1 or 0. All
    /// values are f32, whatever the storage type: the caller widens and rounds.
    /// [`check::self_test`](crate::check::self_test) compares the WGSL with the twin in every way to call the op.
    /// [`SignatureBuilder`](crate::signature::SignatureBuilder) has an example.
    ///
    /// # Errors
    /// [`Error::Shader`] if the WGSL is longer or more deeply nested than the library compiles.
    pub fn raw(
        signature: Signature,
        twin: impl Fn(DType, &[f32], &mut [f32]) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        shader::check_size(&signature)?;
        Ok(Self::with(signature, Behaviour::Raw(Box::new(twin))))
    }

    pub(crate) fn of(definition: Definition, arithmetic: Arithmetic) -> Result<Self, Error> {
        definition.function.graph.check(&definition.name)?;
        let function = definition.function.in_arithmetic(arithmetic);
        // What an expression means may have larger gradients.
        function.graph.check(&definition.name)?;
        let plain = function.plain();
        let signature = signature(&definition, &plain, arithmetic)?;
        let results: Vec<Id> = plain.results().chain(mask(&plain)).collect();
        let used = plain.graph.used(results.iter().copied());
        let programs = Programs::default();
        let expression = Expression { definition, arithmetic, function, plain, results, used, programs };
        Ok(Self::with(signature, Behaviour::Expression(Box::new(expression))))
    }

    fn with(signature: Signature, behaviour: Behaviour) -> Self {
        Self(Arc::new(Inner {
            signature,
            behaviour: Arc::new(behaviour),
            #[cfg(test)]
            cpu_path: None,
        }))
    }

    /// The same op with formulas that are written for people, one for each output. By default they print the
    /// expression.
    pub(crate) fn with_formulas(self, formulas: &[&'static str]) -> Result<Self, Error> {
        Ok(Self(Arc::new(Inner {
            signature: self.signature().with_formulas(formulas)?,
            behaviour: self.0.behaviour.clone(),
            #[cfg(test)]
            cpu_path: None,
        })))
    }

    /// The same op with another CPU path, for tests of what must see that.
    #[cfg(test)]
    pub(crate) fn with_cpu_path(self, path: impl Fn(DType, Block) + Send + Sync + 'static) -> Self {
        let (signature, behaviour) = (self.0.signature.clone(), self.0.behaviour.clone());
        Self(Arc::new(Inner { signature, behaviour, cpu_path: Some(Box::new(path)) }))
    }

    /// The same op with edited WGSL expressions and further functions, but the same reference. For tests of the
    /// checks that must notice the difference.
    ///
    /// # Errors
    /// The errors of [`SignatureBuilder::build`](crate::signature::SignatureBuilder::build).
    #[doc(hidden)]
    pub fn with_wgsl(&self, edit: impl Fn(&str) -> String, functions: &[&str]) -> Result<Self, Error> {
        let functions = functions.iter().map(|function| function.to_string().into()).collect();
        Ok(Self(Arc::new(Inner {
            signature: self.signature().edited(edit, functions)?,
            behaviour: self.0.behaviour.clone(),
            #[cfg(test)]
            cpu_path: None,
        })))
    }

    /// Returns the op with your own gradient for an input: an expression of the inputs, `z` and the upstream gradient
    /// `dz`. It must be linear in `dz`.
    ///
    /// ```
    /// # use elemgrad::{Op, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// // Rounding to integers, with the gradient of the identity: a straight-through estimator.
    /// let quantized = Op::new("quantized", ["x"], |[x]| x.round())?.with_gradient("x", |[_], _, dz| dz)?;
    /// assert_eq!(Runner::cpu().fused(&quantized, &[&[1.7]], &[0.5])?, (vec![2.0], vec![vec![0.5]]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Name`] if no input has the name, [`Error::NotExpression`] for an op made by [`raw`](Op::raw), and the
    /// errors of [`new`](Op::new).
    pub fn with_gradient<const N: usize>(
        self,
        input: &str,
        gradient: impl for<'g> FnOnce([Expr<'g>; N], Expr<'g>, Expr<'g>) -> Expr<'g>,
    ) -> Result<Self, Error> {
        let Expression { definition, arithmetic, .. } = self.expression()?;
        self.check_arity(N, "inputs of a gradient")?;
        let definition = definition
            .clone()
            .with_gradient(input, |reads, z, dz| Ok(gradient(std::array::from_fn(|i| reads[i]), z, dz)))?;
        Self::of(definition, *arithmetic)
    }

    /// Returns the op with a further output, an expression of the inputs and `z`. The output follows the gradients
    /// and has no gradient itself. It is written only if a call asks for it.
    ///
    /// ```
    /// use elemgrad::{Args, Op, Runner};
    ///
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let op = Op::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))?
    ///     .with_output("q", |[x, y], _| x.floor_quotient(y))?;
    /// let (mut z, mut q) = (vec![], vec![]);
    /// let reads = vec![Some(&[-7.5_f32]), Some(&[2.0])];
    /// Runner::cpu().run(Args::new(&op, reads, vec![Some(&mut z), None, None, Some(&mut q)]))?;
    /// assert_eq!((z, q), (vec![0.5], vec![-4.0_f32]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Name`]: an operand cannot have the name.
    /// - [`Error::TooLarge`]: there are more than [`MAX_OUTPUTS`](Op::MAX_OUTPUTS) outputs.
    /// - [`Error::NotExpression`]: [`raw`](Op::raw) made the op.
    /// - The errors of [`new`](Op::new).
    pub fn with_output<const N: usize>(
        self,
        name: impl Into<String>,
        output: impl for<'g> FnOnce([Expr<'g>; N], Expr<'g>) -> Expr<'g>,
    ) -> Result<Self, Error> {
        let Expression { definition, arithmetic, .. } = self.expression()?;
        self.check_arity(N, "inputs of an output")?;
        let definition = definition
            .clone()
            .with_output(name.into(), |reads, z| Ok(output(std::array::from_fn(|i| reads[i]), z)))?;
        Self::of(definition, *arithmetic)
    }

    /// Returns the op in the given arithmetic. A new op is in [`Arithmetic::Native`].
    ///
    /// ```
    /// use elemgrad::{Arithmetic, Error, Op};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let ratio = Op::new("ratio", ["x", "y"], |[x, y]| x / y)?.with_arithmetic(Arithmetic::Exact)?;
    /// assert_eq!(ratio.arithmetic(), Arithmetic::Exact);
    /// let wave = Op::new("wave", ["x"], |[x]| x.sin())?.with_arithmetic(Arithmetic::Exact);
    /// assert!(matches!(wave, Err(Error::Inexact { block: "sin", .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Inexact`] for exact arithmetic if a building block of the op has no exact form,
    /// [`Error::NotExpression`] for an op made by [`raw`](Op::raw).
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Result<Self, Error> {
        Self::of(self.expression()?.definition.clone(), arithmetic)
    }

    /// The op's name.
    pub fn name(&self) -> &str {
        self.signature().name()
    }

    /// The op's names, outputs and WGSL.
    pub fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// How devices compute the op. Hand-written WGSL counts as exact.
    pub fn arithmetic(&self) -> Arithmetic {
        match &*self.0.behaviour {
            Behaviour::Expression(expression) => expression.arithmetic,
            Behaviour::Raw(_) => Arithmetic::Exact,
        }
    }

    /// Whether every device gives the same bits as [`reference`](Op::reference). The CPU path always does.
    pub fn is_exact(&self) -> bool {
        self.arithmetic() == Arithmetic::Exact
    }

    /// Whether the gradient of an input is written by hand, not derived.
    pub fn is_written(&self, input: &str) -> bool {
        let Behaviour::Expression(expression) = &*self.0.behaviour else { return true };
        let definition = &expression.definition;
        let mut all = definition.inputs.iter().zip(&definition.function.written);
        all.any(|(name, written)| name == input && *written)
    }

    /// Calls the op within the expression of another op. The value keeps this op's gradients and takes the arithmetic
    /// of the other op.
    ///
    /// Making the other op then fails with [`Error::Arity`] if the number of arguments is wrong, and with
    /// [`Error::NotExpression`] if [`raw`](Op::raw) made this op.
    ///
    /// ```
    /// # use elemgrad::{Op, Runner, ops::modulo};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let wrapped = Op::new("wrapped", ["x", "y"], |[x, y]| modulo().call([x, y]).spiky() * 2.0)?;
    /// assert_eq!(Runner::cpu().forward(&wrapped, &[&[3.25], &[1.5]])?, [0.5]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<'g, const N: usize>(&self, arguments: [Expr<'g>; N]) -> Expr<'g> {
        // Without arguments there is no graph to join, and every op has at least one input.
        const { assert!(N > 0) };
        let failure = match self.expression() {
            Ok(expression) if N == self.signature().inputs().len() => {
                return arguments[0].inlined(&expression.definition.function, &arguments);
            }
            Ok(_) => Failure::Arity { op: self.name().into(), got: N, need: self.signature().inputs().len() },
            Err(error) => Failure::Other(error),
        };
        arguments[0].failed(failure)
    }

    /// The gradient with respect to an input, as an op with gradients of its own. Its inputs are those of this op and
    /// the upstream gradient, named `upstream`, or `upstream_2` if that is taken.
    ///
    /// A hand-written gradient is differentiated as written. A `z` in it counts as its expression.
    ///
    /// ```
    /// # use elemgrad::{Op, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let slope = Op::new("cube", ["x"], |[x]| x * x * x)?.derivative("x")?;
    /// // 3 x^2, and how that changes with x: 6 x.
    /// let inputs: [&[f32]; 2] = [&[2.0], &[1.0]];
    /// assert_eq!(Runner::cpu().forward(&slope, &inputs)?, [12.0]);
    /// assert_eq!(Runner::cpu().backward(&slope, &inputs, &[1.0])?[0], [12.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Name`] if no input has the name, [`Error::NotExpression`] for an op made by [`raw`](Op::raw), and the
    /// errors of [`new`](Op::new) if the derivative is too large or has too many inputs.
    pub fn derivative(&self, input: &str) -> Result<Self, Error> {
        let Expression { definition, arithmetic, function, .. } = self.expression()?;
        Self::of(definition.derivative(function, input)?, *arithmetic)
    }

    /// The directional derivative, as an op. Its inputs are those of this op and one tangent for each, named
    /// `tangent_x`.
    ///
    /// A hand-written gradient is assumed to be linear in the upstream gradient, as every gradient is. Given a
    /// tangent in place of the upstream gradient, it returns that tangent's contribution.
    ///
    /// ```
    /// # use elemgrad::{Op, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let along = Op::new("product", ["x", "y"], |[x, y]| x * y)?.jvp()?;
    /// // At (2, 3) along (1, 10): 3 + 20.
    /// assert_eq!(Runner::cpu().forward(&along, &[&[2.0], &[3.0], &[1.0], &[10.0]])?, [23.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotExpression`] for an op made by [`raw`](Op::raw), and the errors of [`new`](Op::new): with more
    /// than four inputs, the directional derivative has too many.
    pub fn jvp(&self) -> Result<Self, Error> {
        let Expression { definition, arithmetic, function, .. } = self.expression()?;
        Self::of(definition.directional(function), *arithmetic)
    }

    /// Computes all outputs of one element on the CPU: the oracle that every device is compared with.
    ///
    /// `reads` are the inputs and the upstream gradient. `writes` are all outputs; a mask is 1 or 0. All values are
    /// f32, whatever the storage type: the caller widens and rounds. `storage` is for ops that round to the storage
    /// type along the way.
    pub fn reference(&self, storage: DType, reads: &[f32], writes: &mut [f32]) {
        self.element(storage, reads, writes);
    }

    /// Computes where the outputs of one element may lie on a device. Operands are those of
    /// [`reference`](Op::reference). The outputs are not yet rounded to the storage type. The outputs of an exact op
    /// lie at the reference.
    pub fn enclose(&self, storage: DType, reads: &[f32], writes: &mut [Enclosure]) {
        let Behaviour::Expression(expression) = &*self.0.behaviour else {
            let mut values = vec![0.0; writes.len()];
            self.element(storage, reads, &mut values);
            writes.iter_mut().zip(values).for_each(|(write, value)| *write = Enclosure::Exact(value));
            return;
        };
        let Expression { plain, arithmetic, results, used, .. } = &**expression;
        let mut bounds = Bounds { arithmetic: *arithmetic, storage, reads };
        let values = plain.graph.evaluate(used, &mut bounds);
        for (write, result) in writes.iter_mut().zip(results) {
            *write = values[result.index()].enclosure;
        }
    }

    /// The graph, if the op is an expression.
    pub(crate) fn function(&self) -> Option<&Function> {
        Some(&self.expression().ok()?.function)
    }

    fn expression(&self) -> Result<&Expression, Error> {
        match &*self.0.behaviour {
            Behaviour::Expression(expression) => Ok(expression),
            Behaviour::Raw(_) => Err(Error::NotExpression { op: self.name().to_owned() }),
        }
    }

    fn check_arity(&self, got: usize, what: &'static str) -> Result<(), Error> {
        let need = self.signature().inputs().len();
        if got == need { Ok(()) } else { Err(Error::Arity { op: self.name().to_owned(), what, got, need }) }
    }
}

/// Evaluates an expression in f32.
struct Reference<'r> {
    storage: DType,
    reads: &'r [f32],
}

impl Algebra for Reference<'_> {
    type Value = f32;

    fn read(&mut self, read: usize) -> f32 {
        self.reads[read]
    }

    fn number(&mut self, value: f32) -> f32 {
        value
    }

    fn apply(
        &mut self,
        _: Id,
        primitive: crate::blocks::Primitive,
        operands: [Id; 3],
        values: &[f32],
    ) -> f32 {
        primitive.compute(self.storage, operands.map(|id| values[id.index()]))
    }
}

impl Compute for Op {
    fn signature(&self) -> &Signature {
        &self.0.signature
    }

    fn element(&self, storage: DType, reads: &[f32], writes: &mut [f32]) {
        match &*self.0.behaviour {
            Behaviour::Raw(twin) => twin(storage, reads, writes),
            Behaviour::Expression(expression) => {
                let Expression { plain, results, used, .. } = &**expression;
                let values = plain.graph.evaluate(used, &mut Reference { storage, reads });
                writes.iter_mut().zip(results).for_each(|(write, id)| *write = values[id.index()]);
            }
        }
    }

    fn block(&self, storage: DType, block: Block) {
        #[cfg(test)]
        if let Some(path) = &self.0.cpu_path {
            return path(storage, block);
        }
        match &*self.0.behaviour {
            Behaviour::Raw(twin) => block.for_each(|reads, writes| twin(storage, reads, writes)),
            Behaviour::Expression(expression) => {
                let Expression { plain, results, programs, .. } = &**expression;
                programs.run(&plain.graph, results, storage, block);
            }
        }
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Op {}

impl Hash for Op {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// Shows the name, the inputs and the formula of `z`.
impl Debug for Op {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let z = self.signature().outputs().first().map_or("", |z| &z.formula);
        write!(f, "Op {}({}) = {z}", self.name(), self.signature().inputs().join(", "))
    }
}
