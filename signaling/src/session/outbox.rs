//! The bounded queue between a meeting and one WebSocket. A WebSocket that does not keep up is cut
//! and its client resumes; the meeting never waits and never buffers without bound.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::frame::Frame;

/// The meeting's end. Dropped, it lets the WebSocket send what waits and close.
pub struct Outbox {
    frames: mpsc::Sender<Arc<Frame>>,
    cut: Arc<Notify>,
}

/// The WebSocket's end.
pub struct Inbox {
    frames: mpsc::Receiver<Arc<Frame>>,
    cut: Arc<Notify>,
}

pub fn channel(capacity: usize) -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let cut = Arc::new(Notify::new());
    let outbox = Outbox {
        frames: sender,
        cut: cut.clone(),
    };
    (outbox, Inbox { frames: receiver, cut })
}

impl Outbox {
    /// False where the queue is full or nobody reads it.
    pub fn try_send(&self, frame: Arc<Frame>) -> bool {
        self.frames.try_send(frame).is_ok()
    }

    /// Makes the WebSocket close at once, whatever waits.
    pub fn cut(self) {
        self.cut.notify_one();
    }
}

impl Inbox {
    /// The next frame; `None` once the meeting has dropped its end and the queue is empty.
    pub async fn recv(&mut self) -> Option<Arc<Frame>> {
        self.frames.recv().await
    }

    /// Resolves once the queue was cut.
    pub fn on_cut(&self) -> impl Future<Output = ()> + use<> {
        let cut = self.cut.clone();
        async move { cut.notified().await }
    }
}
