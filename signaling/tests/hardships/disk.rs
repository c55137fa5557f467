//! A disk that is full.

use std::path::Path;
use std::process::Command;

use crate::process::{Meeting, Process, expect_alive};

fn fill(folder: &Path) {
    // Until nothing fits.
    let _ = std::fs::write(folder.join("filler"), vec![0; 1 << 20]);
    let more = std::fs::write(folder.join("more"), vec![0; 1 << 16]);
    assert!(more.is_err(), "the disk is full");
}

struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None`, with words, where nobody may mount.
    fn mount() -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("tianqiao-disk-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&folder)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: mounting a small disk needs root");
        let _ = std::fs::remove_dir(&folder);
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_data_and_log_ends_no_meeting() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let log = disk.0.join("log");
    let scene = format!("exec 2>>{}", log.display());
    let data = disk.0.join("data");
    let data = data.to_str().expect("a plain path");
    let mut process = Process::start(&scene, &["--data-dir", data, "--log", "debug"]);
    let meeting = Meeting::open(&process).await;
    let mut ann = meeting.join("Ann").await;
    fill(&disk.0);
    let mut bob = meeting.join("Bob").await;
    expect_alive(&mut ann).await;
    expect_alive(&mut bob).await;
    // The last page of the log still takes some lines.
    let mut metrics = String::new();
    for _ in 0..200 {
        let answer = reqwest::get(&process.url).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        metrics = process.metrics().await;
        if !metrics.contains("tianqiao_log_lines_lost_total 0\n") {
            break;
        }
    }
    assert!(metrics.contains("tianqiao_log_lines_lost_total "), "{metrics}");
    assert!(!metrics.contains("tianqiao_log_lines_lost_total 0\n"), "{metrics}");

    // Once there is room the log goes on, and says that lines are missing.
    for name in ["filler", "more"] {
        let _ = std::fs::remove_file(disk.0.join(name));
    }
    let mut eve = meeting.join("Eve").await;
    expect_alive(&mut eve).await;
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.contains("log lines were lost"), "{text}");
    assert!(process.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_at_the_start_is_told() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    fill(&disk.0);
    for folder in [disk.0.join("data"), disk.0.clone()] {
        let output = Command::new(env!("CARGO_BIN_EXE_tianqiao"))
            .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "", "--data-dir"])
            .arg(&folder)
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && told.contains("No space left on device"),
            "{told}"
        );
        assert!(told.contains("data folder"), "{told}");
    }
    let names = std::fs::read_dir(&disk.0).expect("a folder").flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().starts_with("token-secret")),
        "{names:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_listens_is_no_reason_to_end() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut process = Process::start("exec 2>/dev/full", &["--log", "debug"]);
    let meeting = Meeting::open(&process).await;
    let mut ann = meeting.join("Ann").await;
    expect_alive(&mut ann).await;
    let metrics = process.metrics().await;
    assert!(!metrics.contains("tianqiao_log_lines_lost_total 0"), "{metrics}");
    assert!(process.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_standard_output_is_told_and_the_server_serves() {
    let folder = std::env::temp_dir().join(format!("tianqiao-stdout-{}", uuid::Uuid::new_v4()));
    let mut child = Command::new("sh")
        .args([
            "-c",
            "exec \"$@\" >/dev/full",
            "sh",
            env!("CARGO_BIN_EXE_tianqiao"),
            "serve",
        ])
        .args([
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
            "--workers",
            "1",
        ])
        .args(["--media-port", "0", "--media-addr", "127.0.0.1", "--data-dir"])
        .arg(&folder)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let stderr = child.stderr.take().expect("piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr)).map_while(Result::ok);
    let told = lines.find(|line| line.contains("standard output cannot be written"));
    let told = told.expect("it is told");
    let url = told.split("url=\"").nth(1).and_then(|rest| rest.split('"').next());
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let answer = reqwest::get(format!("{}/readyz", url.expect("a URL")))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    child.kill().expect("it ends");
    child.wait().expect("it ends");
    let _ = std::fs::remove_dir_all(folder);
}
