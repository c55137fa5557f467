//! Writes the TypeScript of the wire types to where the web client reads it.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(tianqiao_protocol::typescript::PATH);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, tianqiao_protocol::typescript::module())
}
