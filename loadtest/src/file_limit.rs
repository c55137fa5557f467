//! How many files this process, and the servers that it starts, may have open (RLIMIT_NOFILE).

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit where it is below `files`.
///
/// # Errors
/// Where the system's hard limit is below that too.
pub fn raise(files: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files is unknown")?;
    if soft >= files {
        return Ok(());
    }
    if hard < files {
        bail!("{files} open files are needed, but the hard limit is {hard} (ulimit -Hn)");
    }
    setrlimit(Resource::RLIMIT_NOFILE, files, hard).context("the limit of open files cannot be raised")
}

/// Raises the limit to `files`, or to the system's hard limit where that is below.
pub fn raise_to(files: u64) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files is unknown")?;
    raise(files.min(hard))
}

/// Runs `start` with a limit of `files`, for what it starts to have that one.
pub fn with<R>(files: u64, start: impl FnOnce() -> R) -> Result<R> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files is unknown")?;
    setrlimit(Resource::RLIMIT_NOFILE, files.min(hard), hard).context("the limit of open files cannot be set")?;
    let started = start();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).context("the limit of open files cannot be raised again")?;
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_never_lowered_and_the_hard_one_is_kept() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        raise(1).unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (soft, hard));
        if let Some(more) = hard.checked_add(1) {
            assert!(raise(more).is_err());
        }
    }
}
