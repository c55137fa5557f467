//! What is kept between runs: small files that only their owner may read.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub struct DataDir(PathBuf);

impl DataDir {
    /// Creates the folder with mode 0700 unless it is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The file's content, written from `make` if it is not there yet. A half-written file cannot
    /// be left: it is renamed into place.
    pub fn read_or_create(&self, name: &str, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        let path = self.0.join(name);
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let content = make()?;
        let partial = self.0.join(format!("{name}.{}", std::process::id()));
        let written = write(&partial, &content).and_then(|()| std::fs::rename(&partial, &path));
        if written.is_err() {
            // On a full disk it would only make matters worse.
            let _ = std::fs::remove_file(&partial);
        }
        written.map(|()| content)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_made_once_and_is_private() {
        let path = std::env::temp_dir().join(format!("tianqiao-{}/data", uuid::Uuid::new_v4()));
        let dir = DataDir::open(&path).expect("a folder");
        for content in [b"first", b"other"] {
            let read = dir.read_or_create("secret", || Ok(content.to_vec())).expect("a file");
            assert_eq!(read, b"first");
        }
        for (path, mode) in [(path.clone(), 0o700), (path.join("secret"), 0o600)] {
            let permissions = std::fs::metadata(path).expect("it exists").permissions();
            assert_eq!(permissions.mode() & 0o777, mode);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }
}
