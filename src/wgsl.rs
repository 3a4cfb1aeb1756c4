//! Splits WGSL into words, and bounds the depth of a compiler's syntax tree. naga recurses over that tree, and a
//! stack overflow aborts the process.

/// The characters that end a line, and so a comment, in WGSL.
pub(crate) const LINE_BREAKS: [char; 7] = ['\n', '\u{b}', '\u{c}', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Whether a name is a reserved word of WGSL.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn is_keyword(name: &str) -> bool {
    wgpu::naga::keywords::wgsl::RESERVED.contains(&name)
}

/// In a browser, the browser's own compiler reports reserved words.
#[cfg(target_arch = "wasm32")]
pub(crate) fn is_keyword(_: &str) -> bool {
    false
}

/// The identifiers of an expression, without members (after a dot).
pub(crate) fn identifiers(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|c: char| c.is_ascii() && !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
        .filter_map(|word| word.split('.').next())
        .filter(|word| !word.is_empty())
}

/// How many operators a block counts as, by the stack that naga takes.
const BLOCK: usize = 5;

/// An upper bound on the depth of a compiler's tree of a text.
pub(crate) fn depth(text: &str) -> usize {
    depths(text).map(|(_, depth)| depth).max().unwrap_or(0)
}

/// The start of each word, and the depth of a compiler's tree up to there. A bracket is one level, and so is each
/// operator of a chain: `a + b + c` is `(a + b) + c`. Each branch of one statement is a block within the last one.
pub(crate) fn depths(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let (mut open, mut before, mut after_block) = (vec![Open::default()], "", false);
    words(text).map(move |(start, word)| {
        let outer = open.len() - 1;
        let here = &mut open[outer];
        if std::mem::take(&mut after_block) && word != "else" {
            here.finish();
        }
        match word {
            "(" | "[" | "{" => open.push(Open::default()),
            ")" | "]" | "}" if outer > 0 => {
                let inner = here.height();
                open.pop();
                after_block = word == "}";
                open[outer - 1].enclose(inner, if after_block { BLOCK } else { 1 });
            }
            ";" | "," => here.finish(),
            // The point of a literal.
            "." if before.starts_with(|c: char| c.is_ascii_digit()) => {}
            _ if word.len() == 1 && "+-*/%&|^<>=!~.".contains(word) => here.operator(word),
            _ => here.has_operand = true,
        }
        before = word;
        (start, open.last().map_or(0, Open::height) + open.len() - 1)
    })
}

/// The depth of what has been read within a bracket.
#[derive(Default)]
struct Open {
    /// The deepest of the finished statements and arguments.
    finished: usize,
    /// For each precedence of operators, from low to high, the chain that waits for its next operand.
    chains: [Option<usize>; 3],
    operand: usize,
    has_operand: bool,
}

impl Open {
    /// Takes up an operator. Precedences that are neighbours in WGSL count as one, which can only add levels.
    fn operator(&mut self, word: &str) {
        // Postfix, or prefix.
        if word == "." || !self.has_operand {
            self.operand += 1;
            return;
        }
        let precedence = match word {
            "*" | "/" | "%" => 2,
            "+" | "-" => 1,
            _ => 0,
        };
        let chain = self.joined(precedence);
        self.chains[precedence..].fill(None);
        self.chains[precedence] = Some(chain);
        (self.operand, self.has_operand) = (0, false);
    }

    /// The operand, joined with the chains of a precedence and above.
    fn joined(&self, precedence: usize) -> usize {
        let chains = self.chains[precedence..].iter().rev().flatten();
        chains.fold(self.operand, |operand, chain| operand.max(*chain) + 1)
    }

    /// Takes up a bracket that has closed.
    fn enclose(&mut self, inner: usize, levels: usize) {
        (self.operand, self.has_operand) = (self.joined(0).max(inner) + levels, true);
        self.chains = [None; 3];
    }

    /// Ends a statement or an argument.
    fn finish(&mut self) {
        *self = Self { finished: self.height(), ..Self::default() };
    }

    fn height(&self) -> usize {
        self.finished.max(self.joined(0))
    }
}

/// The words and the significant single characters of a text, and where each starts.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut end = 0;
    let all = std::iter::from_fn(move || {
        let rest = &text[end..];
        let word = &rest[..token(rest)];
        end += word.len();
        (!word.is_empty()).then_some((end - word.len(), word))
    });
    all.filter(|(_, word)| !word.starts_with(is_blank) && !word.starts_with("//") && !word.starts_with("/*"))
}

/// Whether a character is blank in WGSL, which includes the text direction marks, or anywhere else.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ['\u{200e}', '\u{200f}'].contains(&c)
}

/// The length of the word, comment or character at the start of a text.
fn token(text: &str) -> usize {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    match text.chars().next() {
        Some('/') if text.starts_with("//") => text.find(LINE_BREAKS).unwrap_or(text.len()),
        Some('/') if text.starts_with("/*") => block_comment(text),
        Some(c) if in_word(c) => text.find(|c| !in_word(c)).unwrap_or(text.len()),
        first => first.map_or(0, char::len_utf8),
    }
}

/// The length of the block comment at the start of a text. Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut open, mut end) = (0_usize, 0);
    while let Some(at) = text[end..].find(['/', '*']) {
        end += at;
        match text[end..].get(..2) {
            Some("/*") => (open, end) = (open + 1, end + 2),
            Some("*/") => (open, end) = (open.saturating_sub(1), end + 2),
            _ => end += 1,
        }
        if open == 0 {
            return end;
        }
    }
    text.len()
}
