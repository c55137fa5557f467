use std::process::ExitCode;

use clap::Parser;
use tianqiao_loadtest::cli::Cli;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| EnvFilter::new("warn,rtc=error,rtc_dtls=error,rtc_ice=error")),
        )
        .with_writer(std::io::stderr)
        .init();
    let mut cli = Cli::parse();
    cli.isolate();
    // Before the runtime starts its threads, which are to be kept where this one is.
    let runtime = cli.pin_generator().and_then(|()| Ok(Runtime::new()?));
    let result = runtime.and_then(|runtime| runtime.block_on(cli.run_until(stop_signal())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn stop_signal() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
