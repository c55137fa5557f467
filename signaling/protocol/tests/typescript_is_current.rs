use std::path::Path;

use tianqiao_protocol::typescript;

#[test]
fn the_checked_in_typescript_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(typescript::PATH);
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == typescript::module(),
        "{} differs: run `cargo run -p tianqiao-protocol --example generate-typescript`",
        typescript::PATH
    );
}
