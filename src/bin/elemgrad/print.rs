//! Standard output and standard error, without the panics of `println!` if the reader has gone.

use std::io::{ErrorKind, Write as _, stderr, stdout};

use crate::failure::Failure;

/// Prints `text` on standard output. It is not a failure if the reader has gone.
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
    note(&format!("elemgrad: {failure}\n"));
}

/// Formats rows under headings, in columns. Columns of numbers are flush right.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let columns = headings.iter().enumerate().map(|(i, heading)| {
        let cells = || rows.iter().map(move |row| row[i].as_str());
        let width = cells().chain([*heading]).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let number = cells().all(|cell| cell.starts_with(|c: char| c.is_ascii_digit()));
        let pad = |cell: &str| if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
        [*heading].into_iter().chain(cells()).map(pad).collect::<Vec<_>>()
    });
    let columns: Vec<_> = columns.collect();
    let line = |i: usize| columns.iter().map(|column| column[i].as_str()).collect::<Vec<_>>().join("  ");
    (0..=rows.len()).map(|i| line(i).trim_end().to_owned() + "\n").collect()
}

/// Formats a count with separated thousands.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

/// Formats seconds with a suitable unit.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.2} us", s * 1e6),
    }
}

/// Formats bytes per second.
pub(crate) fn speed(bytes_per_second: f64) -> String {
    format!("{:.2} GB/s", bytes_per_second / 1e9)
}

/// Quotes a text as one word for a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Prints on standard error.
pub(crate) fn note(text: &str) {
    // If this fails, there is nowhere left to report it.
    let _ = stderr().write_all(text.as_bytes());
}
