//! The op of a call: a built-in one, or one of the user's WGSL.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use elemgrad::{Error, Op, ops};

use crate::{
    cli::{BuiltIn, OpArgs},
    failure::Failure,
    print::quoted,
};

/// An op, and how the user gave it.
pub(crate) struct Given {
    pub(crate) op: Op,
    /// Whether the op is built in.
    pub(crate) is_built_in: bool,
    /// The arguments that select this op again.
    pub(crate) arguments: String,
}

impl Given {
    pub(crate) fn op(&self) -> &Op {
        &self.op
    }

    fn built_in(op: &Op) -> Self {
        Self { op: op.clone(), is_built_in: true, arguments: op.name().to_owned() }
    }
}

impl OpArgs {
    /// The op of a command that requires one.
    pub(crate) fn one(&self) -> Result<Given, Failure> {
        self.given()?.ok_or_else(|| Failure::Usage("needs an op: a name, --wgsl or --expr".into()))
    }

    /// The given op, or `spiky` and `mod` if none is given.
    pub(crate) fn all(&self) -> Result<Vec<Given>, Failure> {
        Ok(self
            .given()?
            .map_or_else(|| ops::mods().iter().copied().map(Given::built_in).collect(), |given| vec![given]))
    }

    fn given(&self) -> Result<Option<Given>, Failure> {
        let (origin, op, argument) = match (self.built_in, &self.wgsl, &self.expr) {
            (Some(BuiltIn(op)), ..) => return Ok(Some(Given::built_in(op))),
            (_, Some(path), _) => {
                let shown = path.display().to_string();
                let origin = if is_standard_input(path) { "<stdin>" } else { &*shown };
                let op = Op::from_wgsl(name(path), &text(path)?);
                (origin.to_owned(), op, format!("--wgsl {}", quoted(&shown)))
            }
            (.., Some(text)) => {
                let op = Op::from_expression("expr", text);
                ("--expr".to_owned(), op, format!("--expr {}", quoted(text)))
            }
            _ => return Ok(None),
        };
        let arithmetic = self.arithmetic.unwrap_or_default();
        let op = op.and_then(|op| op.with_arithmetic(arithmetic)).map_err(|error| wrong(&origin, error))?;
        let told = self.arithmetic.map_or(String::new(), |told| format!(" --arithmetic {}", told.name()));
        Ok(Some(Given { op, is_built_in: false, arguments: argument + &told }))
    }
}

/// The failure for a wrong text, with the place in a compiler's format.
fn wrong(origin: &str, error: Error) -> Failure {
    match error {
        Error::Wgsl { line, column, message, source_line, caret, .. } => Failure::Usage(format!(
            "{origin}:{line}:{column}: {message}\n    {source_line}\n    {:caret$}^",
            ""
        )),
        _ => Failure::usage(error),
    }
}

/// The name of a file's op: the file's stem, with characters replaced that no identifier has.
fn name(path: &Path) -> String {
    if is_standard_input(path) {
        return "stdin".into();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if is_standard_input(path) { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) })
}

/// A file's text. A file that is too long for the compiler is not read to its end: it may be endless.
fn text(path: &Path) -> Result<String, Failure> {
    let failed = |problem: String| Failure::Usage(format!("{}: {problem}", path.display()));
    let mut bytes = Vec::new();
    let len = open(path).and_then(|file| file.take(Op::MAX_TEXT as u64 + 1).read_to_end(&mut bytes));
    let len = len.map_err(|e| failed(format!("cannot be read: {e}")))?;
    if len > Op::MAX_TEXT {
        return Err(failed(format!("has more than {} bytes, the limit of a text", Op::MAX_TEXT)));
    }
    String::from_utf8(bytes).map_err(|_| failed("is not UTF-8 text".into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn arguments_give_the_op_again() -> Result<(), Box<dyn std::error::Error>> {
        let cases: [(&[&str], &str); 4] = [
            (&["mod"], "mod"),
            (&["--expr", "x * y"], "--expr 'x * y'"),
            (&["--expr", "-x", "--arithmetic", "exact"], "--expr '-x' --arithmetic exact"),
            (
                &["--arithmetic", "native", "--expr", "x // it's"],
                r"--expr 'x // it'\''s' --arithmetic native",
            ),
        ];
        for (given, expected) in cases {
            let command = Cli::try_parse_from([&["elemgrad", "verify"], given].concat())?.command;
            let Some(Command::Verify(args)) = command else { return Err("another command".into()) };
            assert_eq!(args.op.one()?.arguments, expected);
        }
        Ok(())
    }

    #[test]
    fn files_have_names_of_ops() {
        let names = [
            ("a/tooth.wgsl", "tooth"),
            ("my-op.v2.wgsl", "my_op_v2"),
            ("2d.wgsl", "_2d"),
            (".wgsl", "_wgsl"),
            ("größe", "gr__e"),
            ("-", "stdin"),
        ];
        for (path, expected) in names {
            assert_eq!(name(Path::new(path)), expected);
        }
    }
}
