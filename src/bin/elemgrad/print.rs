//! Standard output and standard error, without the panics of `println!` where the reader has gone.

use std::io::{ErrorKind, Write as _, stderr, stdout};

use crate::failure::Failure;

/// Prints `text` on standard output. A reader that has seen enough is no failure.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::OnTheWay(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints one JSON value on standard output.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    out(&format!("{value:#}\n"))
}

/// Prints a failure on standard error.
pub(crate) fn complain(failure: &Failure) {
    // Nowhere is left to report that this failed.
    let _ = writeln!(stderr(), "elemgrad: {failure}");
}
