//! SIGINT, SIGTERM and SIGHUP: stop soon, leave no files, exit with 1.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{failure::Failure, outputs, print};

/// How long the work may take to react before the process exits.
const GRACE: Duration = Duration::from_secs(2);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Handles signals from now on.
pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        INTERRUPTED.store(true, Ordering::Relaxed);
        thread::sleep(GRACE);
        // The work is stuck: it is reading from a pipe, or waiting for a GPU that does not answer.
        outputs::discard();
        print::complain(&Failure::Interrupted);
        std::process::exit(1);
    })
    .map_err(Failure::on_the_way)
}

/// Whether a signal has arrived.
pub(crate) fn pending() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// [`Failure::Interrupted`] once a signal has arrived.
pub(crate) fn check() -> Result<(), Failure> {
    if pending() { Err(Failure::Interrupted) } else { Ok(()) }
}
