//! 256 open files, and somebody who wants more.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use crate::process::{Meeting, Process, expect_alive};

const ATTACKERS: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn those_in_a_meeting_go_on_when_files_run_out() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ours = tianqiao::file_limit::raise().expect("it is allowed");
    assert!(
        ours > 3 * ATTACKERS as u64,
        "the test itself needs more open files (ulimit -Hn)"
    );
    let mut process = Process::start("ulimit -n 256", &[]);
    let told = process.log();
    assert!(
        told.contains("limits are lowered to fit the hard limit of open files"),
        "{told}"
    );
    let meeting = Meeting::open(&process).await;
    let mut ann = meeting.join("Ann").await;

    let http = process.address();
    let ice_tcp = tcp_candidate(&ann.joined.sdp);
    let mut held = Vec::new();
    for number in 0..ATTACKERS {
        for address in [http, ice_tcp] {
            let mut stream = TcpStream::connect(address).expect("it listens");
            match number % 3 {
                0 => {}
                1 => drop(stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")),
                _ => drop(stream.write_all(b"POST /api/v1/meetings HTTP/1.1\r\n")),
            }
            held.push(stream);
        }
    }
    expect_alive(&mut ann).await;
    let mut bob = meeting.join("Bob").await;
    expect_alive(&mut bob).await;
    expect_alive(&mut ann).await;
    let metrics = process.metrics().await;
    assert!(
        metrics.contains("tianqiao_http_closed_total{reason=\"address_full\"}"),
        "{metrics}"
    );
    assert!(process.is_running());
    drop(held);
    expect_alive(&mut ann).await;
    assert!(process.stop());
}

/// What the operator sees where even the lowered limits are more than there is.
#[tokio::test(flavor = "multi_thread")]
async fn accepting_goes_on_after_files_ran_out() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Files that the server knows nothing of: what is left is less than it plans with.
    let hold: String = (10..185).map(|number| format!("exec {number}</dev/null\n")).collect();
    let scene = format!("ulimit -n 256\n{hold}");
    let bash = std::process::Command::new("bash").arg("-c").arg("true").status();
    if !bash.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a shell is needed that can open file 10 and up (bash)");
        return;
    }
    let mut process = Process::start_in("bash", &scene, &[]);
    let meeting = Meeting::open(&process).await;
    let mut ann = meeting.join("Ann").await;
    let http = process.address();
    let held: Vec<_> = (0..150)
        .map(|_| TcpStream::connect(http).expect("it listens"))
        .collect();
    let mut bob = meeting.join("Bob").await;
    expect_alive(&mut ann).await;
    expect_alive(&mut bob).await;
    let log = process.log();
    assert!(log.contains("HTTP connections cannot be accepted"), "{log}");
    assert!(log.lines().count() < 60, "{log}");
    assert!(!process.metrics().await.contains("tianqiao_accept_errors_total 0"));
    drop(held);
    assert!(process.is_running());
}

fn tcp_candidate(sdp: &str) -> SocketAddr {
    let line = sdp
        .lines()
        .find(|line| line.starts_with("a=candidate:") && line.contains(" tcp "));
    let fields: Vec<_> = line.expect("a TCP candidate").split(' ').collect();
    format!("{}:{}", fields[4], fields[5]).parse().expect("an address")
}
