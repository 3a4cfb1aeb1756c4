//! Lowers naga's module to nodes of a graph. Functions are run on expressions instead of values.
//!
//! For an `if`, both branches are run, each on what the variables held before. The condition then selects between
//! what the branches left in them. A return is a condition with a value. Code after it counts where the condition
//! does not hold.
//!
//! naga has already folded constant expressions, in f64 if their type is abstract. `1.0 / 3.0` is the f32 nearest to
//! a third, and `0.1 + 0.2` is the f32 nearest to that sum in f64, as WGSL specifies.

use std::cell::RefCell;

use wgpu::naga::{
    Block, Expression, Function, Handle, Literal, LocalVariable, MathFunction, Module, Range,
    RelationalFunction, Scalar, ScalarKind, Span, Statement, Type as NagaType, TypeInner, UnaryOperator,
};

use super::{
    builtins::{binary, call_own, either, ldexp, math, merge, name_of, symbol},
    source::Source,
    value::{
        Value::{self, Number, Truth},
        type_name,
    },
};
use crate::{
    blocks::{Builder, Type},
    error::Error,
    expr::{
        Condition, Expr,
        graph::{Graph, MAX_NODES, Node},
    },
};

/// The maximum number of expressions, variables and calls visited. Functions are inlined, so in a chain of functions
/// that each call the next one twice, every link doubles them.
const MAX_STEPS: usize = 1 << 18;
/// The maximum depth of nested calls.
const MAX_CALLS: usize = 64;

impl Condition<'_> {
    /// Whether the condition is this constant.
    pub(super) fn is(self, value: bool) -> bool {
        self.graph.borrow().node(self.id) == Node::Truth(value)
    }
}

/// Why something cannot be lowered, and its place in the text.
struct Refusal(Span, String);

impl Refusal {
    /// The refusal, placed at `span` if it has no place yet.
    fn or_at(self, span: Span) -> Self {
        if self.0.is_defined() { self } else { Self(span, self.1) }
    }
}

type Lowered<T> = Result<T, Refusal>;

/// What a block returns: a value, and the condition under which it does.
type Returned<'g> = Option<(Condition<'g>, Value<'g>)>;

/// A module to lower.
pub(super) struct Lowering<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) module: &'a Module,
}

impl<'a> Lowering<'a> {
    /// The inputs of the op: the parameters of `forward`.
    pub(super) fn inputs(&self) -> Result<Vec<String>, Error> {
        if let Some((handle, _)) = self.module.global_variables.iter().next() {
            let span = self.module.global_variables.get_span(handle);
            return Err(self.source.error_at(span, "bindings and global variables cannot be part of an op"));
        }
        let Some(forward) = self.find("forward") else {
            return Err(self.source.error(0, "there is no function named `forward`"));
        };
        if !self.is_of_numbers(forward) {
            let message = "`forward` takes and gives f32 and nothing else";
            return Err(self.source.error(self.source.function("forward"), message));
        }
        Ok(parameters(forward).map(str::to_owned).collect())
    }

    /// The hand-written gradients, and the input of each.
    pub(super) fn gradients<'i>(&self, inputs: &'i [String]) -> Result<Vec<(&'a str, &'i str)>, Error> {
        let mut gradients = Vec::new();
        for function in self.functions() {
            let name = function.name.as_deref().unwrap_or_default();
            let Some(of) = name.strip_prefix("d_") else { continue };
            let error = |message: String| Err(self.source.error(self.source.function(name), message));
            let Some(input) = inputs.iter().find(|input| *input == of) else {
                return error(format!("`{name}` would be a gradient, and `forward` has no parameter `{of}`"));
            };
            let wanted: Vec<&str> = inputs.iter().map(String::as_str).chain(["z", "dz"]).collect();
            if !self.is_of_numbers(function) || !parameters(function).eq(wanted.iter().copied()) {
                let wanted: Vec<String> = wanted.iter().map(|name| format!("{name}: f32")).collect();
                return error(format!("a gradient is `fn {name}({}) -> f32`", wanted.join(", ")));
            }
            gradients.push((name, &**input));
        }
        Ok(gradients)
    }

    /// The value of a function of numbers.
    pub(super) fn call<'g>(&self, name: &str, arguments: &[Expr<'g>]) -> Result<Expr<'g>, Error> {
        let refused = |Refusal(span, message)| self.source.error_at(span, message);
        let (Some(function), Some(first)) = (self.find(name), arguments.first()) else {
            return Err(self.source.error(self.source.function(name), "an op needs an input"));
        };
        let graph = first.graph;
        let mut run = Run { module: self.module, graph, steps: 0, calls: 0 };
        let arguments: Vec<_> = arguments.iter().copied().map(Number).collect();
        match run.function(function, &arguments).map_err(refused)? {
            Number(value) => Ok(value),
            // The declared type has been compared with the returned one.
            Truth(condition) => Ok(Expr::new(graph, condition.id)),
        }
    }

    fn functions(&self) -> impl Iterator<Item = &'a Function> {
        self.module.functions.iter().map(|(_, function)| function)
    }

    fn find(&self, name: &str) -> Option<&'a Function> {
        self.functions().find(|function| function.name.as_deref() == Some(name))
    }

    fn is_of_numbers(&self, function: &Function) -> bool {
        let number = |ty| ty_of(self.module, ty) == Some(Type::Number);
        function.arguments.iter().all(|argument| number(argument.ty))
            && function.result.as_ref().is_some_and(|result| number(result.ty))
    }
}

fn parameters(function: &Function) -> impl Iterator<Item = &str> {
    function.arguments.iter().map(|argument| argument.name.as_deref().unwrap_or_default())
}

/// The type, if it is one of ours.
fn ty_of(module: &Module, ty: Handle<NagaType>) -> Option<Type> {
    match module.types[ty].inner {
        TypeInner::Scalar(Scalar::F32) => Some(Type::Number),
        TypeInner::Scalar(Scalar::BOOL) => Some(Type::Truth),
        _ => None,
    }
}

/// A function being run, with the functions that it calls.
struct Run<'a, 'g> {
    module: &'a Module,
    graph: &'g RefCell<Graph>,
    steps: usize,
    calls: usize,
}

/// A call of a function.
struct Frame<'a, 'g, 'v> {
    function: &'a Function,
    arguments: &'v [Value<'g>],
    /// The value of each variable.
    variables: Vec<Value<'g>>,
    /// The computed values, by expression.
    values: Vec<Option<Value<'g>>>,
}

impl<'a, 'g> Run<'a, 'g> {
    fn number(&self, value: f32) -> Value<'g> {
        Number(Expr::new(self.graph, self.graph.borrow_mut().number(value)))
    }

    fn truth(&self, value: bool) -> Value<'g> {
        Truth(self.condition(value))
    }

    fn condition(&self, value: bool) -> Condition<'g> {
        Condition { graph: self.graph, id: self.graph.borrow_mut().truth(value) }
    }

    fn spend(&mut self, steps: usize) -> Lowered<()> {
        self.steps += steps;
        let message = if self.graph.borrow().check("").is_err() {
            format!("up to here the op has more than {MAX_NODES} nodes")
        } else if self.steps > MAX_STEPS {
            format!("up to here the op has more than {MAX_STEPS} expressions, with those of what it calls")
        } else {
            return Ok(());
        };
        Err(Refusal(Span::UNDEFINED, message))
    }

    /// The value of a call.
    fn function(&mut self, function: &'a Function, arguments: &[Value<'g>]) -> Lowered<Value<'g>> {
        let variables = function.local_variables.iter();
        let variables = variables.map(|(handle, variable)| self.initial(function, handle, variable));
        let variables = variables.collect::<Lowered<Vec<_>>>()?;
        let values = vec![None; function.expressions.len()];
        self.spend(1 + values.len() + variables.len())?;
        let mut frame = Frame { function, arguments, variables, values };
        let returned = self.block(&mut frame, &function.body)?;
        // In a full graph, one constant cannot be told from another.
        self.spend(0)?;
        match returned {
            Some((all, value)) if all.is(true) => Ok(value),
            _ => Err(self.returns_nothing(function)),
        }
    }

    /// The refusal of a function that ends without a return.
    fn returns_nothing(&self, function: &Function) -> Refusal {
        let mut all = self.module.functions.iter();
        let handle = all.find(|(_, other)| std::ptr::eq(*other, function)).map(|(handle, _)| handle);
        let range = handle.and_then(|handle| self.module.functions.get_span(handle).to_range());
        // At its closing bracket.
        let end = range.map_or(0, |range| range.end as u32);
        let name = function.name.as_deref().unwrap_or_default();
        Refusal(Span::new(end.saturating_sub(1), end), format!("`{name}` can end without a return"))
    }

    fn initial(
        &mut self,
        function: &'a Function,
        handle: Handle<LocalVariable>,
        variable: &LocalVariable,
    ) -> Lowered<Value<'g>> {
        match (variable.init, ty_of(self.module, variable.ty)) {
            (Some(init), Some(_)) => self.constant(&function.expressions[init]),
            (None, Some(Type::Number)) => Some(self.number(0.0)),
            (None, Some(Type::Truth)) => Some(self.truth(false)),
            (_, None) => None,
        }
        .ok_or_else(|| {
            let message = "a variable is f32 or bool, and nothing else".into();
            Refusal(function.local_variables.get_span(handle), message)
        })
    }

    /// Runs statements until every path has returned.
    fn block(&mut self, frame: &mut Frame<'a, 'g, '_>, block: &'a Block) -> Lowered<Returned<'g>> {
        let mut returns: Vec<(Condition<'g>, Value<'g>)> = Vec::new();
        for (statement, span) in block.span_iter() {
            let Some(returned) = self.statement(frame, statement, *span)? else { continue };
            returns.push(returned);
            if returned.0.is(true) {
                break;
            }
        }
        let Some((mut all, mut value)) = returns.pop() else { return Ok(None) };
        for (condition, earlier) in returns.into_iter().rev() {
            value = merge(condition, earlier, value);
            all = condition | all;
        }
        Ok(Some((all, value)))
    }

    fn statement(
        &mut self,
        frame: &mut Frame<'a, 'g, '_>,
        statement: &'a Statement,
        span: Span,
    ) -> Lowered<Returned<'g>> {
        self.spend(1).map_err(|refusal| refusal.or_at(span))?;
        match statement {
            Statement::Emit(range) => self.emit(frame, range)?,
            Statement::Block(block) => return self.block(frame, block),
            Statement::If { condition, accept, reject } => {
                return self.branch(frame, *condition, [accept, reject], span);
            }
            Statement::Return { value: Some(handle) } => {
                let value = self.value(frame, *handle)?;
                let declared =
                    frame.function.result.as_ref().and_then(|result| ty_of(self.module, result.ty));
                if declared != Some(value.ty()) {
                    let declared = declared.map_or("something else", type_name);
                    let message = format!("{} is returned where {declared} is declared", value.type_name());
                    return Err(Refusal(place(frame.function, *handle, span), message));
                }
                return Ok(Some((self.condition(true), value)));
            }
            Statement::Return { value: None } => {}
            Statement::Store { pointer, value } => {
                let stored = self.value(frame, *value)?;
                let variable = variable(frame.function, *pointer)?;
                let held = &mut frame.variables[variable.index()];
                if held.ty() != stored.ty() {
                    let message =
                        format!("{} is stored in a variable of {}", stored.type_name(), held.type_name());
                    return Err(Refusal(place(frame.function, *value, span), message));
                }
                *held = stored;
            }
            Statement::Call { function, arguments, result } => {
                let arguments = arguments.iter().map(|argument| self.value(frame, *argument));
                let arguments = arguments.collect::<Lowered<Vec<_>>>()?;
                // The value that a function returns is its only effect.
                if let Some(result) = result {
                    let value = self.call(*function, &arguments, span)?;
                    frame.values[result.index()] = Some(value);
                }
            }
            _ => return Err(Refusal(span, "this statement cannot be part of an op".into())),
        }
        Ok(None)
    }

    /// Runs both branches. The variables and the returned value are then those of the branch taken.
    fn branch(
        &mut self,
        frame: &mut Frame<'a, 'g, '_>,
        condition: Handle<Expression>,
        [accept, reject]: [&'a Block; 2],
        span: Span,
    ) -> Lowered<Returned<'g>> {
        let condition = match self.value(frame, condition)? {
            Truth(condition) => condition,
            Number(_) => {
                let span = place(frame.function, condition, span);
                return Err(Refusal(span, "a condition is bool, and this is f32".into()));
            }
        };
        self.spend(frame.variables.len())?;
        let before = frame.variables.clone();
        let accepted = self.block(frame, accept)?;
        let accepts = std::mem::replace(&mut frame.variables, before);
        let rejected = self.block(frame, reject)?;
        for (held, accept) in frame.variables.iter_mut().zip(accepts) {
            *held = merge(condition, accept, *held);
        }
        Ok(match (accepted, rejected) {
            (None, None) => None,
            (Some((when, value)), None) => Some((condition & when, value)),
            (None, Some((when, value))) => Some((!condition & when, value)),
            (Some((a, accept)), Some((b, reject))) => {
                Some((either(condition, a, b), merge(condition, accept, reject)))
            }
        })
    }

    fn call(&mut self, handle: Handle<Function>, arguments: &[Value<'g>], span: Span) -> Lowered<Value<'g>> {
        let function = &self.module.functions[handle];
        let name = function.name.as_deref().unwrap_or_default();
        let needs: Vec<_> = function.arguments.iter().map(|a| ty_of(self.module, a.ty)).collect();
        if !needs.iter().copied().eq(arguments.iter().map(|argument| Some(argument.ty()))) {
            let needs: Vec<_> = needs.iter().map(|ty| ty.map_or("another type", type_name)).collect();
            let got: Vec<_> = arguments.iter().map(Value::type_name).collect();
            let message = format!("`{name}` takes ({}), not ({})", needs.join(", "), got.join(", "));
            return Err(Refusal(span, message));
        }
        if let Some(value) = call_own(name, &numbers(arguments)) {
            return Ok(Number(value));
        }
        if self.calls == MAX_CALLS {
            return Err(Refusal(span, format!("more than {MAX_CALLS} calls are nested")));
        }
        self.calls += 1;
        let result = self.function(function, arguments).map_err(|refusal| refusal.or_at(span));
        self.calls -= 1;
        result
    }

    fn emit(&mut self, frame: &mut Frame<'a, 'g, '_>, range: &Range<Expression>) -> Lowered<()> {
        for handle in range.clone() {
            self.spend(1)?;
            let value = self.compute(frame, &frame.function.expressions[handle]);
            let span = frame.function.expressions.get_span(handle);
            frame.values[handle.index()] = Some(value.map_err(|refusal| refusal.or_at(span))?);
        }
        Ok(())
    }

    /// The value of an expression that needs no computing, or has been computed.
    fn value(&self, frame: &Frame<'a, 'g, '_>, handle: Handle<Expression>) -> Lowered<Value<'g>> {
        let expression = &frame.function.expressions[handle];
        let value = match expression {
            Expression::FunctionArgument(argument) => frame.arguments.get(*argument as usize).copied(),
            _ => frame.values[handle.index()].or_else(|| self.constant(expression)),
        };
        let span = frame.function.expressions.get_span(handle);
        value.ok_or_else(|| Refusal(span, refused(expression)))
    }

    fn constant(&self, expression: &Expression) -> Option<Value<'g>> {
        match *expression {
            Expression::Literal(Literal::F32(value)) => Some(self.number(value)),
            Expression::Literal(Literal::Bool(value)) => Some(self.truth(value)),
            Expression::Constant(constant) => {
                let init = self.module.constants[constant].init;
                self.constant(&self.module.global_expressions[init])
            }
            Expression::ZeroValue(ty) => match ty_of(self.module, ty)? {
                Type::Number => Some(self.number(0.0)),
                Type::Truth => Some(self.truth(false)),
            },
            _ => None,
        }
    }

    fn compute(&self, frame: &Frame<'a, 'g, '_>, expression: &Expression) -> Lowered<Value<'g>> {
        let of = |handle: Handle<Expression>| self.value(frame, handle);
        let value = match *expression {
            Expression::Load { pointer } => Some(frame.variables[variable(frame.function, pointer)?.index()]),
            Expression::Unary { op, expr } => match (op, of(expr)?) {
                (UnaryOperator::Negate, Number(x)) => Some(Number(-x)),
                (UnaryOperator::LogicalNot, Truth(c)) => Some(Truth(!c)),
                (UnaryOperator::Negate, value) => return Err(unfit("-", &[value])),
                (UnaryOperator::LogicalNot, value) => return Err(unfit("!", &[value])),
                (UnaryOperator::BitwiseNot, value) => return Err(unfit("~", &[value])),
            },
            Expression::Binary { op, left, right } => {
                let (left, right) = (of(left)?, of(right)?);
                Some(binary(op, left, right).ok_or_else(|| unfit(symbol(op), &[left, right]))?)
            }
            Expression::Select { condition, accept, reject } => {
                match (of(condition)?, of(accept)?, of(reject)?) {
                    (Truth(condition), accept, reject) if accept.ty() == reject.ty() => {
                        Some(merge(condition, accept, reject))
                    }
                    _ => None,
                }
            }
            Expression::Math { fun: MathFunction::Ldexp, arg, arg1: Some(exponent), .. } => {
                let Expression::Literal(Literal::I32(exponent)) = frame.function.expressions[exponent] else {
                    return Err(Refusal(Span::UNDEFINED, "`ldexp` takes a literal exponent".into()));
                };
                numbers(&[of(arg)?]).first().map(|x| Number(ldexp(*x, exponent)))
            }
            Expression::Math { fun, arg, arg1, arg2, arg3 } => {
                let arguments = [Some(arg), arg1, arg2, arg3].into_iter().flatten().map(of);
                let arguments = arguments.collect::<Lowered<Vec<_>>>()?;
                let numbers = numbers(&arguments);
                let value = math(fun, &numbers).filter(|_| numbers.len() == arguments.len());
                Some(Number(value.ok_or_else(|| {
                    let name = name_of(fun);
                    let message = format!(
                        "`{name}` has no building blocks: use functions of the table of `Op::from_wgsl`"
                    );
                    Refusal(Span::UNDEFINED, message)
                })?))
            }
            Expression::As { expr, kind, convert: Some(_) } => self.convert(of(expr)?, kind),
            Expression::Relational { fun: RelationalFunction::All | RelationalFunction::Any, argument } => {
                Some(of(argument)?)
            }
            _ => self.constant(expression),
        };
        value.ok_or_else(|| Refusal(Span::UNDEFINED, refused(expression)))
    }

    /// `f32(x)` and `bool(x)`.
    fn convert(&self, value: Value<'g>, kind: ScalarKind) -> Option<Value<'g>> {
        match (value, kind) {
            (Number(_), ScalarKind::Float) | (Truth(_), ScalarKind::Bool) => Some(value),
            (Number(x), ScalarKind::Bool) => Some(Truth(x.ne(0.0))),
            (Truth(condition), ScalarKind::Float) => Some(Number({
                let Number(one) = self.number(1.0) else { return None };
                condition.select(one, 0.0)
            })),
            _ => None,
        }
    }
}

/// The place of an expression in a statement. naga places a parameter at its declaration, so the statement stands for
/// it.
fn place(function: &Function, handle: Handle<Expression>, statement: Span) -> Span {
    match function.expressions[handle] {
        Expression::FunctionArgument(_) => statement,
        _ => function.expressions.get_span(handle),
    }
}

/// The variable that a pointer points to.
fn variable(function: &Function, pointer: Handle<Expression>) -> Lowered<Handle<LocalVariable>> {
    match function.expressions[pointer] {
        Expression::LocalVariable(variable) => Ok(variable),
        ref other => Err(Refusal(function.expressions.get_span(pointer), refused(other))),
    }
}

fn numbers<'g>(values: &[Value<'g>]) -> Vec<Expr<'g>> {
    let number = |value: &Value<'g>| match value {
        Number(x) => Some(*x),
        Truth(_) => None,
    };
    values.iter().filter_map(number).collect()
}

fn unfit(operator: &str, values: &[Value<'_>]) -> Refusal {
    let types: Vec<_> = values.iter().map(Value::type_name).collect();
    let remedy = if operator == "^" { ": a power is pow(x, y)" } else { "" };
    Refusal(Span::UNDEFINED, format!("`{operator}` does not take {}{remedy}", types.join(" and ")))
}

/// The message for an expression that no op has.
fn refused(expression: &Expression) -> String {
    let what = match expression {
        Expression::Literal(Literal::I32(value)) => {
            return format!("integers cannot be part of an op: `{value}.0` is an f32");
        }
        Expression::Literal(Literal::AbstractFloat(value)) => {
            return format!("this expression of constants has no type: write `{value:?}f`");
        }
        Expression::Literal(_) | Expression::As { .. } => "a value that is neither f32 nor bool",
        Expression::Access { .. }
        | Expression::AccessIndex { .. }
        | Expression::Splat { .. }
        | Expression::Swizzle { .. }
        | Expression::Compose { .. } => "a value of several components",
        Expression::LocalVariable(_) => "a pointer that is more than a name for a variable",
        Expression::Derivative { .. } => {
            return "derivatives of WGSL's are those across pixels: an op gets its gradients without a call"
                .into();
        }
        Expression::Load { .. } => "what this reads",
        _ => "this",
    };
    format!("{what} cannot be part of an op")
}
