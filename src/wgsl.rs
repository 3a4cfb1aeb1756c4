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

/// The start of each word, and the depth of a compiler's tree there. Each bracket is one level. Each operator
/// directly within a bracket is one level too, up to a comma or the end of the statement. The branches of one
/// statement count as nested.
pub(crate) fn depths(text: &str) -> impl Iterator<Item = (usize, usize)> {
    // The operators of each open bracket, and the total over all open brackets.
    let (mut levels, mut depth, mut after_block) = (vec![0], 0, false);
    words(text).map(move |(start, word)| {
        let here = levels.len() - 1;
        if std::mem::take(&mut after_block) && word != "else" {
            depth -= std::mem::take(&mut levels[here]);
        }
        match word {
            "(" | "[" | "{" => {
                let level = if word == "{" { BLOCK } else { 1 };
                (levels[here], depth) = (levels[here] + level, depth + level);
                levels.push(0);
            }
            ")" | "]" | "}" => {
                after_block = word == "}";
                if here > 0 {
                    depth -= levels.pop().unwrap_or(0);
                }
            }
            ";" | "," => depth -= std::mem::take(&mut levels[here]),
            _ if word.len() == 1 && "+-*/%&|^<>=!~.".contains(word) => {
                (levels[here], depth) = (levels[here] + 1, depth + 1);
            }
            _ => {}
        }
        (start, depth)
    })
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
