//! The bounded queue between a meeting and one WebSocket. One that does not keep up loses chat first, which its client can
//! ask for later; if that is not enough it is cut and its client resumes. The meeting never waits and never buffers without
//! bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tianqiao_protocol::ws::ServerMessage;
use tokio::sync::Notify;

use super::frame::Frame;

#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    pub messages: usize,
    /// Before compression.
    pub bytes: usize,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// Chat was left out since the client was last told so.
    chat_lost: bool,
    /// One of the ends is gone.
    closed: bool,
}

struct Shared {
    limits: OutboxLimits,
    queue: Mutex<Queue>,
    changed: Notify,
    cut: Notify,
}

/// The meeting's end. Dropped, it lets the WebSocket send what waits and close.
pub struct Outbox(Arc<Shared>);

/// The WebSocket's end.
pub struct Inbox(Arc<Shared>);

pub fn channel(limits: OutboxLimits) -> (Outbox, Inbox) {
    let shared = Arc::new(Shared {
        limits,
        queue: Mutex::default(),
        changed: Notify::new(),
        cut: Notify::new(),
    });
    (Outbox(shared.clone()), Inbox(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Whether a frame fits into a queue of that size; into an empty one any fits.
    fn fits(&self, frame: &Frame, messages: usize, bytes: usize) -> bool {
        self.frames.is_empty() || (self.frames.len() < messages && self.bytes + frame.len() <= bytes)
    }

    fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    fn drop_chat(&mut self) {
        let before = self.frames.len();
        self.frames.retain(|frame| !frame.is_chat());
        self.chat_lost |= self.frames.len() < before;
        self.bytes = self.frames.iter().map(|frame| frame.len()).sum();
    }
}

impl Outbox {
    /// False where the queue is full or nobody reads it. Chat that does not fit into half of the queue is left out.
    pub fn try_send(&self, frame: Arc<Frame>) -> bool {
        let OutboxLimits { messages, bytes } = self.0.limits;
        let mut queue = self.0.lock();
        if queue.closed {
            return false;
        }
        if frame.is_chat() && !queue.fits(&frame, messages / 2, bytes / 2) {
            queue.chat_lost = true;
            return true;
        }
        if !queue.fits(&frame, messages, bytes) {
            queue.drop_chat();
        }
        if !queue.fits(&frame, messages, bytes) {
            return false;
        }
        queue.push(frame);
        drop(queue);
        self.0.changed.notify_one();
        true
    }

    /// Makes the WebSocket close at once, whatever waits.
    pub fn cut(self) {
        self.0.cut.notify_one();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl Inbox {
    /// The next frame; `None` once the meeting has dropped its end and the queue is empty. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Arc<Frame>> {
        loop {
            {
                let mut queue = self.0.lock();
                if let Some(frame) = queue.frames.pop_front() {
                    queue.bytes -= frame.len();
                    return Some(frame);
                }
                if std::mem::take(&mut queue.chat_lost) {
                    return Some(Arc::new(Frame::new(&ServerMessage::ChatLost)));
                }
                if queue.closed {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }

    /// Resolves once the queue was cut.
    pub fn on_cut(&self) -> impl Future<Output = ()> + use<> {
        let shared = self.0.clone();
        async move { shared.cut.notified().await }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.lock().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tianqiao_protocol::ws::ChatLine;

    fn chat(text: &str) -> Arc<Frame> {
        Arc::new(Frame::new(&ServerMessage::Chat(ChatLine {
            seq: 1,
            from: "a".into(),
            name: "A".into(),
            text: text.into(),
            at: 0,
        })))
    }

    fn pong() -> Arc<Frame> {
        Arc::new(Frame::new(&ServerMessage::Pong { t: 1 }))
    }

    async fn labels(inbox: &mut Inbox) -> Vec<&'static str> {
        let mut labels = Vec::new();
        while let Some(frame) = inbox.recv().await {
            labels.push(frame.label);
        }
        labels
    }

    #[tokio::test]
    async fn a_slow_reader_loses_chat_before_anything_else() {
        let limits = OutboxLimits {
            messages: 4,
            bytes: 10_000,
        };
        let (outbox, mut inbox) = channel(limits);
        for _ in 0..10 {
            assert!(outbox.try_send(chat("hi")));
        }
        for _ in 0..4 {
            assert!(outbox.try_send(pong()), "chat makes room");
        }
        assert!(!outbox.try_send(pong()), "only what cannot be left out is too much");
        drop(outbox);
        assert_eq!(labels(&mut inbox).await, ["pong", "pong", "pong", "pong", "chat_lost"]);
    }

    #[tokio::test]
    async fn bytes_are_bounded_too_but_one_large_message_always_goes() {
        let limits = OutboxLimits {
            messages: 100,
            bytes: 2_000,
        };
        let (outbox, mut inbox) = channel(limits);
        assert!(outbox.try_send(chat(&"x".repeat(5_000))));
        assert!(outbox.try_send(chat("more")));
        assert!(outbox.try_send(pong()));
        drop(outbox);
        assert_eq!(labels(&mut inbox).await, ["pong", "chat_lost"]);
        let (outbox, inbox) = channel(limits);
        drop(inbox);
        assert!(!outbox.try_send(pong()), "nobody reads");
    }
}
