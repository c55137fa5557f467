//! The binary as people start and stop it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

fn serve(args: &[&str]) -> Child {
    let data_dir = std::env::temp_dir().join(format!("tianqiao-test-{}", uuid::Uuid::new_v4()));
    Command::new(env!("CARGO_BIN_EXE_tianqiao"))
        .arg("serve")
        .args(["--data-dir".as_ref(), data_dir.as_os_str()])
        .args(["--metrics-listen", "127.0.0.1:0"])
        .args(["--media-port", "0", "--media-addr", "127.0.0.1", "--workers", "1"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

#[tokio::test]
async fn it_says_when_it_is_ready_and_ends_when_told() {
    // The HTTP client wants one, even for plain HTTP.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut running = Running(serve(&["--listen", "127.0.0.1:0", "--log-format", "json"]));
    let stdout = running.0.stdout.take().expect("piped");
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next().expect("a line").expect("text");
    let url = line.strip_prefix("ready: ").expect("the ready line");
    let ready = reqwest::get(format!("{url}/readyz")).await.expect("an answer");
    assert_eq!(ready.status(), 200);

    let line = lines.next().expect("a second line").expect("text");
    let metrics = line.strip_prefix("metrics: ").expect("the line of the metrics");
    let metrics = reqwest::get(format!("{metrics}/metrics")).await.expect("an answer");
    assert!(metrics.text().await.expect("text").contains("tianqiao_sfu_sessions"));

    let pid = running.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-HUP", &pid])
            .status()
            .expect("kill runs")
            .success()
    );
    assert!(running.0.wait().expect("it ends").success());
    assert!(lines.next().is_none(), "standard output has these lines only");
    let mut logs = String::new();
    running
        .0
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut logs)
        .expect("text");
    assert!(!logs.is_empty());
    for line in logs.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect(line);
    }
}

#[test]
fn a_wrong_setting_stops_the_start_with_a_sentence() {
    let output = serve(&["--listen", "nowhere"]).wait_with_output().expect("it ends");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--listen: expected an address with port"), "{told}");
}
