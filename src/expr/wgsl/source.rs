//! A user's text: the checks before parsing, and the places of errors in it.

use wgpu::naga::{Span, WithSpan, front::wgsl::ParseError, valid::ValidationError};

use super::{builtins, remedies};
use crate::{
    error::Error,
    wgsl::{depths, words},
};

/// The maximum size in bytes of WGSL text for an op.
pub(crate) const MAX_TEXT: usize = 64 << 10;

/// The maximum depth of brackets. naga takes at most 199 expressions and statements within each other.
const MAX_BRACKETS: usize = 190;
/// The maximum depth of blocks. naga takes at most the 127 of the WGSL specification.
const MAX_BLOCKS: usize = 127;
/// The maximum depth of operators and brackets. Compiled without optimization, naga takes 8 KiB of stack for each.
const MAX_DEPTH: usize = 4000;
/// What to do about a text that is too deep.
const SPLIT: &str = "put parts into `let`s or functions";
/// The maximum number of characters of a line that an error shows.
const SHOWN: usize = 100;
/// The maximum number of characters of a compiler's message that an error shows.
const LONGEST_MESSAGE: usize = 300;

/// A user's text, and the text around it.
pub(super) struct Source<'a> {
    pub(super) op: &'a str,
    /// The whole text.
    full: String,
    /// Where the user's text begins.
    start: usize,
    text: &'a str,
}

impl<'a> Source<'a> {
    pub(super) fn new(op: &'a str, head: &str, text: &'a str, tail: &str) -> Self {
        Self { op, full: [head, text, tail].concat(), start: head.len(), text }
    }

    pub(super) fn followed_by(&self, declarations: &str) -> String {
        [&self.full, declarations].concat()
    }

    pub(super) fn check_size(&self) -> Result<(), Error> {
        let bytes = self.text.len();
        if bytes > MAX_TEXT {
            let message = format!("the text has {bytes} bytes, more than the limit of {MAX_TEXT}");
            return Err(self.error(self.start, message));
        }
        Ok(())
    }

    /// Checks that the text can be given to a compiler, and has no word for what cannot be part of an op.
    ///
    /// Such words would be found later too, but not all with line and column. Also, types of any size would allow
    /// constants of any size.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_size()?;
        self.check_brackets()?;
        if let Some((at, _)) = depths(&self.full).find(|(_, depth)| *depth > MAX_DEPTH) {
            let message = format!("more than {MAX_DEPTH} operators depend on each other: {SPLIT}");
            return Err(self.error(at, message));
        }
        if let Some((at, what)) = words(&self.full).find_map(|(at, word)| Some((at, foreign(word)?))) {
            return Err(self.error(at, format!("{what} cannot be part of an op")));
        }
        if let Some((at, _)) = words(&self.full).find(|(_, word)| *word == "?") {
            return Err(self.error(at, "WGSL has no `c ? a : b`: write select(b, a, c)"));
        }
        if let Some(at) = remedies::integer_division(&self.full) {
            let message = "WGSL divides integers without a fraction: write 1.0 / 2.0 in place of 1 / 2";
            return Err(self.error(at, message));
        }
        self.check_declarations()
    }

    /// Checks that naga takes the brackets of the text. For too many of them, its own error has no place.
    fn check_brackets(&self) -> Result<(), Error> {
        let (mut brackets, mut blocks) = (0_usize, 0_usize);
        for (at, word) in words(self.text) {
            let block = usize::from(word == "{" || word == "}");
            match word {
                "(" | "[" | "{" => (brackets, blocks) = (brackets + 1, blocks + block),
                ")" | "]" | "}" => {
                    (brackets, blocks) = (brackets.saturating_sub(1), blocks.saturating_sub(block));
                }
                _ => {}
            }
            let (most, of) =
                if blocks > MAX_BLOCKS { (MAX_BLOCKS, "blocks") } else { (MAX_BRACKETS, "brackets") };
            if brackets > MAX_BRACKETS || blocks > MAX_BLOCKS {
                return Err(
                    self.error(self.start + at, format!("nested more than {most} {of} deep: {SPLIT}"))
                );
            }
        }
        Ok(())
    }

    /// Checks that no declaration has the name of one of our own functions.
    fn check_declarations(&self) -> Result<(), Error> {
        let (mut depth, mut before) = (0_usize, "");
        for (at, word) in words(&self.full) {
            match word {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && ["fn", "const", "alias"].contains(&before) && builtins::is_own(word) {
                return Err(self.error(at, format!("`{word}` is built in: choose another name")));
            }
            before = word;
        }
        Ok(())
    }

    /// The position of a function's name.
    pub(super) fn function(&self, name: &str) -> usize {
        let pairs = words(&self.full).zip(words(&self.full).skip(1));
        let mut declared = pairs.filter(|((_, before), (_, word))| *before == "fn" && *word == name);
        declared.next().map_or(self.start, |(_, (at, _))| at)
    }

    /// An error of the whole op, placed at its cause.
    pub(super) fn placed(&self, error: Error) -> Error {
        match error {
            Error::Name { got, need, .. } => {
                let mut named = words(&self.full).filter(|(at, word)| *at >= self.start && *word == got);
                let at = named.next().map_or_else(|| self.function("forward"), |(at, _)| at);
                self.error(at, format!("the name '{got}' is not {need}"))
            }
            Error::TooLarge { what, got, most, .. } => {
                let message = format!("the op has {got} {what}, more than the limit of {most}");
                self.error(self.function("forward"), message)
            }
            other => other,
        }
    }

    pub(super) fn parse_error(&self, error: &ParseError) -> Error {
        let range = error.labels().find_map(|(span, _)| span.to_range()).unwrap_or(self.start..self.start);
        if let Some((at, message)) = self.remedy(error.message(), range.start) {
            return self.error(at, message);
        }
        let end = self.start + self.text.len();
        // What follows the text is not the user's. Only a comment extends over the end of the text.
        let message = match error.message().split_once(", found ") {
            Some((expected, _)) if range.start > end => format!("{expected}, found the end of the text"),
            _ if range.end > end && range.start < end => "this comment does not end".into(),
            _ => remedies::with_remedy(error.message().to_owned()),
        };
        self.error(range.start, message)
    }

    /// What to do in place of what naga refuses, and where. `None` if naga's message says enough.
    fn remedy(&self, message: &str, at: usize) -> Option<(usize, String)> {
        if message == "internal WGSL front end error" {
            return Some((at, format!("nested too deep: {SPLIT}")));
        }
        if message.contains("must be a pointer") && self.full[..at].ends_with('*') {
            return Some((at - 1, "`**` is no operator: write pow(x, 2.0), or x * x".into()));
        }
        let name = message.strip_prefix("no definition in scope for identifier: `")?.strip_suffix('`')?;
        let after = self.full.get(at..)?.strip_prefix(name)?;
        let called = words(after).next().is_some_and(|(_, word)| word == "(");
        called.then(|| (at, remedies::unknown_function(name)))
    }

    pub(super) fn invalid(&self, error: &WithSpan<ValidationError>) -> Error {
        let mut cause: &dyn std::error::Error = error.as_inner();
        while let Some(source) = cause.source() {
            cause = source;
        }
        let span = error.spans().next().map_or(Span::default(), |(span, _)| *span);
        self.error_at(span, cause.to_string())
    }

    /// An error at the start of a span.
    pub(super) fn error_at(&self, span: Span, message: impl Into<String>) -> Error {
        self.error(span.to_range().map_or(self.start, |range| range.start), message)
    }

    /// An error at a byte of the full text.
    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> Error {
        // A place after the text counts as its end.
        let end = self.text.trim_end().len();
        let at = self.text.floor_char_boundary(at.saturating_sub(self.start).min(end));
        let line_start = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let column = self.text[line_start..at].chars().count();
        // A long line is cut to what surrounds the place.
        let skipped = column.saturating_sub(SHOWN / 2);
        let shown = line.chars().skip(skipped).take(SHOWN);
        Error::Wgsl {
            op: self.op.into(),
            line: self.text[..at].matches('\n').count() + 1,
            column: column + 1,
            message: message.into().chars().take(LONGEST_MESSAGE).collect(),
            source_line: shown.map(|c| if c.is_control() { ' ' } else { c }).collect(),
            caret: column - skipped,
        }
    }
}

/// What a word stands for, if that cannot be part of an op: a keyword, or a type or function of WGSL.
fn foreign(word: &str) -> Option<&'static str> {
    const OF_NUMBERS: [&str; 5] = ["", "f", "h", "i", "u"];
    const TEXTURES: [&str; 8] =
        ["1d", "2d", "3d", "cube", "multisampled_2d", "storage_", "depth_", "external"];
    let is_vector = |rest: &str| rest.starts_with(['2', '3', '4']) && OF_NUMBERS.contains(&&rest[1..]);
    let is_matrix =
        |rest: &str| rest.starts_with(['2', '3', '4']) && rest[1..].strip_prefix('x').is_some_and(is_vector);
    let is_texture = |rest: &str| match rest.strip_prefix('_') {
        Some(kind) => TEXTURES.iter().any(|texture| kind.starts_with(texture)),
        None => rest.starts_with(char::is_uppercase),
    };
    Some(match word {
        "loop" | "for" | "while" | "continuing" | "break" | "continue" => "loops",
        "switch" => "switch",
        "discard" => "discard",
        "i32" | "u32" | "i64" | "u64" => "integers",
        "f16" | "f64" => "types of numbers other than f32",
        "struct" => "structs",
        "array" | "binding_array" | "[" | "]" => "arrays",
        "atomic" => "atomics",
        "ptr" => "pointers as parameters",
        "override" => "overrides",
        "enable" | "requires" | "diagnostic" => "directives",
        "@" => "attributes",
        "bitcast" => "the bits of numbers",
        "sampler" | "sampler_comparison" => "textures",
        _ if word.strip_prefix("vec").is_some_and(is_vector) => "vectors",
        _ if word.strip_prefix("mat").is_some_and(is_matrix) => "matrices",
        _ if word.strip_prefix("texture").is_some_and(is_texture) => "textures",
        _ => return None,
    })
}
