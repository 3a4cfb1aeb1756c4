//! Failures that end the command, and their exit codes.

use std::{fmt::Display, path::Path, process::ExitCode};

use elemgrad::Error;

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An error that was detectable before work started.
    #[error("{0}")]
    Usage(String),
    /// A failure during the work.
    #[error("{0}")]
    OnTheWay(String),
    /// Bits that differ from the reference. The report has listed them.
    #[error("the results are not those of the reference")]
    Mismatch,
    /// SIGINT, SIGTERM or the end of the terminal.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// 2 for an error that was detectable before work started, else 1.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// A failure during the work.
    pub(crate) fn on_the_way(cause: impl Display) -> Self {
        Failure::OnTheWay(cause.to_string())
    }

    /// A failure to read or write a file during the work.
    pub(crate) fn on_file(path: &Path, cause: impl Display) -> Self {
        Failure::OnTheWay(format!("{}: {cause}", path.display()))
    }

    /// An error that was detectable before work started.
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
