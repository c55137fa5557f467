//! The web client is embedded from web-client/dist. Without it the binary still builds, with a page
//! that says what is missing.

use std::path::Path;

const PLACEHOLDER: &str = "<!doctype html><meta charset=utf-8><title>Tianqiao</title>\
<p>This server was built without its web client. Run <code>make build</code> and start it again.\n";

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-client/dist");
    println!("cargo:rerun-if-changed={}", dist.display());
    let index = dist.join("index.html");
    if !index.exists() {
        std::fs::create_dir_all(&dist).expect("web-client/ can be written");
        std::fs::write(index, PLACEHOLDER).expect("web-client/dist can be written");
    }
}
