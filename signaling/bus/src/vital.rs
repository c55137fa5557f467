//! Tasks without which a process only seems to live.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::task::JoinHandle;

/// Spawns a task whose panic ends the process: what waits for it would wait for ever, and a supervisor would see
/// a healthy process.
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            tracing::error!(task = name, "a task has panicked, the process ends");
            std::process::abort();
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Set in the process that is to end.
    const CHILD: &str = "TIANQIAO_TEST_VITAL";

    #[tokio::test]
    async fn a_panic_of_a_vital_task_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let _ = super::spawn("test", async { panic!("as the test wants it") }).await;
            return;
        }
        let test = "vital::tests::a_panic_of_a_vital_task_ends_the_process";
        let child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", test])
            .env(CHILD, "1")
            .output()
            .expect("it runs");
        const SIGABRT: i32 = 6;
        assert_eq!(child.status.signal(), Some(SIGABRT), "{child:?}");
    }

    #[tokio::test]
    async fn the_end_of_a_vital_task_is_no_panic() {
        super::spawn("test", async {}).await.expect("it ends");
        let endless = super::spawn("test", std::future::pending());
        endless.abort();
        assert!(endless.await.expect_err("aborted").is_cancelled());
    }
}
