//! A Janus of the tool's own: configuration files with only videoroom and WebSockets.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where Debian's package puts it.
pub const BINARY: &str = "/usr/bin/janus";

/// Everything but videoroom and WebSockets. Janus skips names that are not installed.
const PLUGINS: [&str; 11] = [
    "audiobridge",
    "duktape",
    "echotest",
    "lua",
    "nosip",
    "recordplay",
    "sip",
    "streaming",
    "textroom",
    "videocall",
    "voicemail",
];
const TRANSPORTS: [&str; 5] = ["http", "mqtt", "nanomsg", "pfunix", "rabbitmq"];

/// The command that runs Janus on `addr` with its files in `folder`, WebSockets on `port`. What it
/// logs goes to standard error's file by way of standard output.
pub fn command(binary: Option<&Path>, folder: &Path, addr: IpAddr, port: u16) -> Result<(PathBuf, Vec<String>)> {
    let binary = binary.unwrap_or(Path::new(BINARY));
    anyhow::ensure!(
        binary.is_file(),
        "{} is not there: install Debian's package `janus`, or use --server-bin or --url",
        binary.display()
    );
    let configs = folder.join("janus");
    std::fs::create_dir(&configs).with_context(|| format!("{} cannot be made", configs.display()))?;
    for (name, text) in files(&configs, addr, port) {
        std::fs::write(configs.join(name), text)?;
    }
    let arguments = vec![format!("--configs-folder={}", configs.display())];
    Ok((binary.to_owned(), arguments))
}

fn files(configs: &Path, addr: IpAddr, port: u16) -> [(&'static str, String); 3] {
    let disable = |kind: &str, names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!("libjanus_{name}.so")).collect();
        format!("{kind}: {{\n    disable = \"{}\"\n}}\n", names.join(","))
    };
    let general = format!(
        "general: {{\n    configs_folder = \"{}\"\n    debug_level = 4\n    debug_colors = false\n    \
         debug_timestamps = true\n}}\n",
        configs.display()
    );
    let nat = format!("nat: {{\n    ice_enforce_list = \"{addr}\"\n}}\n");
    let media = "media: {\n    no_media_timer = 0\n}\n";
    let events = "events: {\n    broadcast = false\n}\n";
    let core = [
        general,
        nat,
        media.to_owned(),
        events.to_owned(),
        disable("plugins", &PLUGINS),
        disable("transports", &TRANSPORTS),
    ]
    .concat();
    let websockets = format!(
        "general: {{\n    json = \"compact\"\n    ws = true\n    ws_port = {port}\n    ws_ip = \"{addr}\"\n    \
         wss = false\n}}\nadmin: {{\n    admin_ws = false\n    admin_wss = false\n}}\n"
    );
    // The package's own has demo rooms.
    let videoroom = "general: {\n    events = false\n}\n".to_owned();
    [
        ("janus.jcfg", core),
        ("janus.transport.websockets.jcfg", websockets),
        ("janus.plugin.videoroom.jcfg", videoroom),
    ]
}

/// Whether a line of Janus' log says that it takes WebSockets: plugins are loaded before.
pub fn is_ready(line: &str) -> bool {
    line.contains("JANUS WebSockets transport plugin initialized")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_address_port_and_folder() {
        let folder = Path::new("/tmp/run/janus");
        let files = files(folder, "10.9.8.7".parse().unwrap(), 4321);
        let [(_, core), (_, websockets), (_, videoroom)] = &files;
        assert!(core.contains("configs_folder = \"/tmp/run/janus\"\n"), "{core}");
        assert!(core.contains("ice_enforce_list = \"10.9.8.7\"\n"), "{core}");
        assert!(core.contains("disable = \"libjanus_audiobridge.so,"), "{core}");
        assert!(
            !core.contains("libjanus_videoroom") && !core.contains("libjanus_websockets"),
            "{core}"
        );
        assert!(
            websockets.contains("ws_port = 4321\n    ws_ip = \"10.9.8.7\"\n"),
            "{websockets}"
        );
        assert!(!videoroom.contains("room-"), "{videoroom}");
        for (_, text) in &files {
            assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
        }
    }

    #[test]
    fn a_missing_janus_is_told_with_the_package_that_has_it() {
        let missing = Path::new("/nonexistent/janus");
        let error = command(Some(missing), Path::new("/"), "127.0.0.1".parse().unwrap(), 1).unwrap_err();
        assert!(error.to_string().contains("package `janus`"), "{error}");
    }

    #[test]
    fn the_line_of_readiness_is_found() {
        assert!(is_ready(
            "[Mon Nov 23 22:56:31 2026] JANUS WebSockets transport plugin initialized!"
        ));
        assert!(!is_ready("Loading transport plugin 'libjanus_websockets.so'..."));
    }
}
