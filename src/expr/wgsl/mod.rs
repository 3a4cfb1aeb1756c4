//! Makes ops from WGSL text. naga parses the text, and its module is lowered into the graph that Rust expressions
//! make.

use std::{collections::HashSet, thread};

use wgpu::naga::{
    Module,
    front::wgsl::parse_str,
    keywords::wgsl::RESERVED,
    valid::{Capabilities, ValidationFlags, Validator},
};

use super::definition::Definition;
use crate::{error::Error, wgsl::words};

mod builtins;
mod lower;
mod remedies;
mod source;
mod value;

use builtins::DECLARATIONS;
use lower::Lowering;
use source::Source;

pub(crate) use source::MAX_TEXT;

/// The stack size of the thread that compiles a text. It is several times what the deepest accepted text takes, even
/// without optimization.
const STACK: usize = 128 << 20;

/// Makes a value, such as an op, from the expression of a WGSL text. Errors get their place in the text.
pub(crate) fn from_wgsl<T>(
    name: &str,
    text: &str,
    make: impl FnOnce(Definition) -> Result<T, Error>,
) -> Result<T, Error> {
    let source = Source::new(name, "", without_mark(text), "");
    on_own_stack(&source).and_then(make).map_err(|error| source.placed(error))
}

/// The same for one WGSL expression. Its inputs are the names in it that are not called.
pub(crate) fn from_expression<T>(
    name: &str,
    expression: &str,
    make: impl FnOnce(Definition) -> Result<T, Error>,
) -> Result<T, Error> {
    let expression = without_mark(expression);
    let bare = Source::new(name, "", expression, "");
    bare.check()?;
    if let Some((at, word)) = words(expression).find(|(_, word)| [";", "{", "}"].contains(word)) {
        return Err(bare.error(at, format!("an expression has no `{word}`")));
    }
    let names = free_names(expression);
    if let Some((at, word)) = names.iter().find(|(_, name)| RESERVED.contains(name)) {
        return Err(bare.error(*at, format!("name `{word}` is a reserved keyword")));
    }
    if let Some((at, problem)) = names.iter().find_map(|(at, name)| Some((*at, remedies::no_constant(name)?)))
    {
        return Err(bare.error(at, problem));
    }
    let parameters = names.iter().map(|(_, name)| format!("{name}: f32")).collect::<Vec<_>>();
    let head = format!("fn forward({}) -> f32 {{ return\n", parameters.join(", "));
    let source = Source::new(name, &head, expression, "\n; }");
    on_own_stack(&source).and_then(make).map_err(|error| source.placed(error))
}

/// The text without the byte order mark that some editors put before it.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The names in an expression that are not called, each once, with its position.
fn free_names(expression: &str) -> Vec<(usize, &str)> {
    let (mut names, mut seen, mut before) = (Vec::new(), HashSet::from(["true", "false"]), "");
    let mut all = words(expression).peekable();
    while let Some((at, word)) = all.next() {
        let is_name = word.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let called = all.peek().is_some_and(|(_, next)| *next == "(");
        // After a point comes the rest of a literal.
        if is_name && !called && before != "." && seen.insert(word) {
            names.push((at, word));
        }
        before = word;
    }
    names
}

/// Compiles on a thread of its own. naga recurses, and how much stack the caller has left is unknown.
///
/// A panic in naga would become an error too. No such panic is known.
fn on_own_stack(source: &Source) -> Result<Definition, Error> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("wgsl".into()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, || compile(source));
        let thread = thread.map_err(|e| source.error(0, format!("there is no thread to compile on: {e}")))?;
        thread.join().map_err(|_| source.error(0, "the compiler failed on this text"))?
    })
}

fn compile(source: &Source) -> Result<Definition, Error> {
    source.check()?;
    let full = source.followed_by(&DECLARATIONS);
    let module = parse_str(&full).map_err(|error| source.parse_error(&error))?;
    let op = lower(source, &module)?;
    // Lowered functions are valid. Functions that nothing calls may not be.
    // quantizeToF16 is our own block, whatever a device can do.
    let capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.validate(&module).map_err(|error| source.invalid(&error))?;
    Ok(op)
}

/// The op in a module: `forward`, then the hand-written gradients.
fn lower(source: &Source, module: &Module) -> Result<Definition, Error> {
    let lowering = Lowering { source, module };
    let inputs = lowering.inputs()?;
    let mut definition =
        Definition::new(source.op.into(), inputs.clone(), |reads| lowering.call("forward", reads))?;
    for (gradient, input) in lowering.gradients(&inputs)? {
        definition = definition.with_gradient(input, |reads, z, dz| {
            let arguments: Vec<_> = reads.iter().copied().chain([z, dz]).collect();
            lowering.call(gradient, &arguments)
        })?;
    }
    Ok(definition)
}
