//! Output files that appear all together or not at all. Each is a temporary sibling; all are renamed when all are
//! complete.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use elemgrad::DType;
use tempfile::{NamedTempFile, TempPath};

use crate::{failure::Failure, npy};

/// What to remove if the outputs are not completed. The thread that handles signals accesses it too.
static STAGED: Mutex<Option<Staged>> = Mutex::new(None);

struct Staged {
    files: Vec<(TempPath, PathBuf)>,
    /// The directories that did not exist, the outermost first.
    directories: Vec<PathBuf>,
}

/// Removes all incomplete outputs.
pub(crate) fn discard() {
    let staged = STAGED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Staged { files, directories }) = staged {
        drop(files);
        // A directory that is no longer empty has files of somebody else. It stays.
        directories.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
    }
}

/// An output file to create.
pub(crate) struct Output {
    pub(crate) name: String,
    /// The type of its elements; `None` for 32-bit words.
    pub(crate) dtype: Option<DType>,
    pub(crate) shape: Vec<u64>,
}

/// The output files of a run.
pub(crate) struct Outputs {
    files: Vec<(File, PathBuf)>,
}

impl Outputs {
    /// Opens files in `directory`, which is created if it does not exist.
    pub(crate) fn create(directory: &Path, files: &[Output]) -> Result<Self, Failure> {
        let failed = |path: &Path, e: &dyn std::fmt::Display| {
            Failure::Usage(format!("{}: cannot be written: {e}; choose another --out", path.display()))
        };
        let staged = Staged { files: Vec::new(), directories: missing_directories(directory) };
        *STAGED.lock().unwrap_or_else(PoisonError::into_inner) = Some(staged);
        let mut outputs = Self { files: Vec::new() };
        fs::create_dir_all(directory).map_err(|e| failed(directory, &e))?;
        for file in files {
            let path = directory.join(&file.name);
            if path.is_dir() {
                return Err(failed(&path, &"it is a directory"));
            }
            outputs.stage(directory, path.clone(), file).map_err(|e| failed(&path, &e))?;
        }
        Ok(outputs)
    }

    fn stage(&mut self, directory: &Path, path: PathBuf, output: &Output) -> io::Result<()> {
        let (mut file, temporary) = temporary(directory)?.into_parts();
        if let Some(staged) = STAGED.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            staged.files.push((temporary, path.clone()));
        }
        npy::write_header(&mut file, output.dtype, &output.shape)?;
        self.files.push((file, path));
        Ok(())
    }

    /// Appends to output `i`.
    pub(crate) fn write(&mut self, i: usize, bytes: &[u8]) -> Result<(), Failure> {
        let (file, path) = &mut self.files[i];
        file.write_all(bytes).map_err(|e| Failure::on_file(path, e))
    }

    /// Renames all outputs to their final names.
    pub(crate) fn complete(mut self) -> Result<(), Failure> {
        for (file, path) in self.files.drain(..) {
            // Some file systems report only now that they are full.
            file.sync_all().map_err(|e| Failure::on_file(&path, e))?;
        }
        // A signal handler waits for the lock, then finds nothing to remove.
        let mut lock = STAGED.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(staged) = lock.take() else { return Err(Failure::Interrupted) };
        for (temporary, path) in staged.files {
            temporary.persist(&path).map_err(|e| Failure::on_file(&path, e.error))?;
        }
        Ok(())
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        discard();
    }
}

/// A temporary file, which is removed unless it is renamed.
pub(crate) fn temporary(directory: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The same permissions as for any new file: the umask restricts these.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.prefix(".elemgrad-").tempfile_in(directory)
}

/// The directories of a path that do not exist, the outermost first.
fn missing_directories(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<_> = path
        .ancestors()
        .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    missing
}
