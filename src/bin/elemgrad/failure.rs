//! What ends the command early, and the exit code that says so.

use std::{fmt::Display, path::Path, process::ExitCode};

use elemgrad::Error;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something wrong that was knowable before work started.
    #[error("{0}")]
    Usage(String),
    /// A failure on the way.
    #[error("{0}")]
    OnTheWay(String),
    /// Bits that differ from the reference; the report has said which.
    #[error("the results are not those of the reference")]
    Mismatch,
    /// SIGINT, SIGTERM or the terminal's end.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// 2 for what was knowable before work started, else 1.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// A failure on the way.
    pub(crate) fn on_the_way(cause: impl Display) -> Self {
        Failure::OnTheWay(cause.to_string())
    }

    /// A failure to read or write on the way.
    pub(crate) fn on_file(path: &Path, cause: impl Display) -> Self {
        Failure::OnTheWay(format!("{}: {cause}", path.display()))
    }

    /// Something wrong that was knowable before work started.
    pub(crate) fn usage(cause: impl Display) -> Self {
        Failure::Usage(cause.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NoDevice { .. } | Error::Open { .. } | Error::Limit { .. } => Self::usage(error),
            _ => Self::on_the_way(error),
        }
    }
}
