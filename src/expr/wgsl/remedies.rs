//! What to write in place of what WGSL does not have, or has with another meaning.

use super::builtins;
use crate::wgsl::words;

/// Functions of WGSL that have building blocks.
const OF_WGSL: [&str; 41] = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "clamp",
    "cos",
    "cosh",
    "degrees",
    "distance",
    "exp",
    "exp2",
    "floor",
    "fma",
    "fract",
    "inverseSqrt",
    "ldexp",
    "length",
    "log",
    "log2",
    "max",
    "min",
    "mix",
    "pow",
    "quantizeToF16",
    "radians",
    "round",
    "saturate",
    "select",
    "sign",
    "sin",
    "sinh",
    "smoothstep",
    "sqrt",
    "step",
    "tan",
    "tanh",
];

/// How alike the names of two functions are if one may be meant by the other.
const ALIKE: f64 = 0.85;

/// The message for a call of a function that is not there.
pub(super) fn unknown_function(name: &str) -> String {
    let there_is_none = format!("there is no function `{name}`");
    let instead = match name {
        "ln" => "log(x), the natural logarithm",
        "relu" => "max(x, 0.0)",
        "isnan" | "isNan" => "x != x",
        _ => match alike(name) {
            Some(other) => return format!("{there_is_none}: is `{other}` meant?"),
            None => return format!("{there_is_none}: the table of `Op::from_wgsl` lists those that are"),
        },
    };
    format!("{there_is_none}: write {instead}")
}

/// The function whose name is most like this one.
fn alike(name: &str) -> Option<&'static str> {
    let all = OF_WGSL.into_iter().chain(builtins::own().map(|(own, _)| own));
    let name = name.to_lowercase();
    let rated = all.map(|other| (strsim::jaro_winkler(&name, &other.to_lowercase()), other));
    rated.filter(|(rating, _)| *rating > ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, other)| other)
}

/// What is wrong with a name that means a constant elsewhere. WGSL has no such constants, so it would be an input.
pub(super) fn no_constant(name: &str) -> Option<String> {
    let instead = match name {
        "pi" | "PI" => "write 3.14159265",
        "tau" | "TAU" => "write 6.2831853",
        "inf" | "Inf" | "INF" | "infinity" | "Infinity" => {
            "constants are finite, and 3.4028234e38 is the largest: write that"
        }
        "nan" | "NaN" | "NAN" => "constants are numbers, and `x != x` holds for NaN alone: write that",
        _ => return None,
    };
    Some(format!("`{name}` is no constant, and would be an input: {instead}, or name the input otherwise"))
}

/// A message of naga's, with what to do.
pub(super) fn with_remedy(message: String) -> String {
    if message.starts_with("wrong type passed") {
        return format!("{message}: an op has f32 and bool, and functions that take them");
    }
    message
}

/// The place of the first division of integer literals. WGSL drops the fraction of its quotient.
pub(super) fn integer_division(text: &str) -> Option<usize> {
    let mut open = vec![Product::default()];
    let (mut last, mut all) = ("", words(text).peekable());
    while let Some((at, word)) = all.next() {
        let is_inner = open.len() > 1;
        let here = open.last_mut()?;
        match word {
            "(" | "[" | "{" => open.push(Product { called: is_word(last), ..Product::default() }),
            ")" | "]" | "}" if is_inner => {
                let is_integer = open.pop().is_some_and(|inner| inner.is_integer());
                let here = open.last_mut()?;
                if let Some(at) = here.operand(is_integer && word == ")") {
                    return Some(at);
                }
            }
            ";" | "," => here.operator = None,
            _ if is_word(word) => {
                let is_digits = word.bytes().all(|byte| byte.is_ascii_digit());
                // A point makes a literal an f32.
                let is_integer = is_digits && last != "." && all.peek().is_none_or(|(_, next)| *next != ".");
                if let Some(at) = here.operand(is_integer) {
                    return Some(at);
                }
            }
            "." => {}
            _ if here.operator.is_none() => here.operator = Some((at, word)),
            // A prefix of the next operand.
            _ => {}
        }
        last = word;
    }
    None
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The product or quotient that is being read within a bracket.
#[derive(Default)]
struct Product<'a> {
    /// Whether the bracket holds the arguments of a call.
    called: bool,
    /// Whether the bracket holds anything else than integers.
    has_other: bool,
    /// Whether the product consists of integers so far.
    of_integers: bool,
    /// The operator before the next operand, and its place.
    operator: Option<(usize, &'a str)>,
}

impl Product<'_> {
    /// Takes up an operand. Returns the place of the division if it is one of integers.
    fn operand(&mut self, is_integer: bool) -> Option<usize> {
        let operator = self.operator.take();
        let continues = operator.filter(|(_, operator)| ["*", "/", "%"].contains(operator));
        let left = continues.is_none() || self.of_integers;
        self.has_other |= !is_integer;
        self.of_integers = left && is_integer;
        continues.filter(|(_, operator)| *operator == "/" && self.of_integers).map(|(at, _)| at)
    }

    fn is_integer(&self) -> bool {
        !self.called && !self.has_other
    }
}
