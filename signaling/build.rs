//! The web client is embedded from web-client/dist, which must exist, if only empty.

use std::path::Path;

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-client/dist");
    println!("cargo:rerun-if-changed={}", dist.display());
    std::fs::create_dir_all(&dist).expect("web-client/ can be written");
}
