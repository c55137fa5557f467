//! The latest lines of a meeting's chat.

use std::collections::VecDeque;

use tianqiao_protocol::ws::ChatLine;

use super::participant::Participant;

pub struct ChatHistory {
    lines: VecDeque<ChatLine>,
    capacity: usize,
    next_seq: u32,
}

impl ChatHistory {
    pub fn new(capacity: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            capacity,
            next_seq: 1,
        }
    }

    pub fn add(&mut self, from: &Participant, text: &str, at: u64) -> ChatLine {
        let line = ChatLine {
            seq: self.next_seq,
            from: from.id.clone(),
            name: from.name().to_owned(),
            text: text.to_owned(),
            at,
        };
        self.next_seq = self.next_seq.wrapping_add(1);
        self.lines.push_back(line.clone());
        if self.lines.len() > self.capacity {
            self.lines.pop_front();
        }
        line
    }

    /// Oldest first.
    pub fn lines(&self) -> Vec<ChatLine> {
        self.lines.iter().cloned().collect()
    }
}
