use super::*;
use std::path::PathBuf;
use std::time::Duration;

fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let matches = clap::Command::new("serve")
        .no_binary_name(true)
        .args(super::args())
        .get_matches_from(args);
    Config::load(&matches, |name| {
        let found = env.iter().find(|(key, _)| *key == name)?;
        Some(found.1.to_owned())
    })
}

fn file(text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tianqiao-{}.toml", uuid::Uuid::new_v4()));
    std::fs::write(&path, text).expect("a temporary file");
    path
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let path =
        file("max_participants = 3\nlisten = \"127.0.0.1:3\"\nresume_window = \"3s\"\nmedia_addr = [\"10.0.0.3\"]\n");
    let path = path.to_str().expect("a plain path");
    let config = load(
        &["--config", path, "--max-participants", "1", "--plain-http"],
        &[("TIANQIAO_MAX_PARTICIPANTS", "2"), ("TIANQIAO_LISTEN", "127.0.0.1:2")],
    )
    .expect("valid settings");
    assert_eq!(config.max_participants, 1);
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.resume_window, Duration::from_secs(3));
    assert_eq!(
        config.media_addr,
        ["10.0.0.3".parse::<std::net::IpAddr>().expect("an address")]
    );
    assert_eq!(config.chat_history, Config::default().chat_history);
    assert!(config.plain_http);
}

#[test]
fn a_flag_that_repeats_makes_a_list() {
    let config = load(&["--media-addr", "10.0.0.1", "--media-addr", "::1"], &[]).expect("valid settings");
    assert_eq!(config.media_addr.len(), 2);
}

#[test]
fn a_default_can_be_turned_off() {
    let config = load(&["--metrics-listen", "", "--trusted-proxies", "10.0.0.0/8,::1"], &[]).expect("valid settings");
    assert_eq!(config.metrics_listen, None);
    assert_eq!(config.trusted_proxies.len(), 2);
}

#[test]
fn mistakes_name_their_source() {
    for (args, env, text, expected) in [
        (vec!["--listen", "here"], vec![], "", "--listen: expected an address"),
        (
            vec![],
            vec![("TIANQIAO_LOG_FORMAT", "xml")],
            "",
            "TIANQIAO_LOG_FORMAT: expected text or json",
        ),
        (vec![], vec![], "colour = 1", "no such setting: colour"),
        (
            vec![],
            vec![],
            "max_sdp_size = \"1 cup\"",
            "max_sdp_size: expected a size",
        ),
        (vec![], vec![], "listen = { a = 1 }", "listen: expected ADDR:PORT"),
        (vec!["--tls-cert", "a.pem"], vec![], "", "go together"),
        (vec!["--trusted-proxies", "10.0.0.0/99"], vec![], "", "not a network"),
        (vec!["--camera-codec", "h265"], vec![], "", "expected vp8, h264"),
        (vec!["--max-connections", "0"], vec![], "", "at least 1"),
        (vec!["--dead-after", "5s"], vec![], "", "longer than ping-interval"),
    ] {
        let path = file(text);
        let mut all = vec!["--config", path.to_str().expect("a plain path")];
        all.extend(args);
        let error = load(&all, &env).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn modes_have_as_many_layers_as_are_forwarded() {
    for (text, is_one) in [
        ("L1T1", true),
        ("L1T3", true),
        ("L2T1_KEY", true),
        ("L3T3_KEY", true),
        ("L1T3_KEY", false),
        ("L4T1", false),
        ("L3T4", false),
        ("L2T2h", false),
        ("S3T3", false),
        ("", false),
    ] {
        assert_eq!(ScalabilityMode::parse(text).is_ok(), is_one, "{text}");
    }
}

#[test]
fn a_mode_is_for_the_codecs_that_have_it() {
    for (codec, mode) in [
        ("vp8", None),
        ("h264", None),
        ("vp9", Some("L1T3")),
        ("av1", Some("L1T3")),
    ] {
        let config = load(&["--camera-codec", codec, "--camera-scalability", "L1T3"], &[]).expect("valid settings");
        assert_eq!(config.camera_encoding().scalability_mode.as_deref(), mode, "{codec}");
    }
}

#[test]
fn sizes_have_units() {
    for (text, expected) in [
        ("17", Some(17)),
        ("2KiB", Some(2048)),
        ("1 MiB", Some(1 << 20)),
        ("2k", None),
        ("", None),
    ] {
        assert_eq!(ByteSize::parse(text).ok().map(|size| size.0), expected, "{text}");
    }
}

#[test]
fn bit_rates_have_units() {
    for (text, expected) in [
        ("512kbps", Some(512_000)),
        ("8 Mbps", Some(8_000_000)),
        ("1Gbps", Some(1_000_000_000)),
        ("0", Some(0)),
        ("8", None),
        ("8MB", None),
        ("99999999999999Gbps", None),
    ] {
        assert_eq!(BitRate::parse(text).ok().map(|rate| rate.0), expected, "{text}");
    }
}

const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_sample_file_holds_the_defaults() {
    let path = Path::new(MANIFEST).join("../deploy/tianqiao.sample.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == sample_file(),
        "run `cargo run -p tianqiao --example generate-config-docs`"
    );
    assert_eq!(
        Config::from_layer(&file_layer(&path).expect("it parses")).expect("valid"),
        Config::default()
    );
}

#[test]
fn the_page_lists_every_setting() {
    let path = Path::new(MANIFEST).join("../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        text.contains(&markdown_table()),
        "run `cargo run -p tianqiao --example generate-config-docs`"
    );
}
