//! The latest lines of a meeting's chat, bounded in number and in bytes.

use std::collections::VecDeque;

use tianqiao_protocol::ws::ChatLine;

use super::participant::Participant;

#[derive(Clone, Copy, Debug)]
pub struct ChatLimits {
    /// Graphemes of one line.
    pub max_length: usize,
    pub max_lines: usize,
    pub max_bytes: usize,
    /// What is told at once.
    pub page_bytes: usize,
}

pub struct ChatHistory {
    limits: ChatLimits,
    lines: VecDeque<ChatLine>,
    bytes: usize,
    next_seq: u32,
}

impl ChatHistory {
    pub fn new(limits: ChatLimits) -> Self {
        Self {
            limits,
            lines: VecDeque::new(),
            bytes: 0,
            next_seq: 1,
        }
    }

    /// The latest lines, as many as fit.
    pub fn latest(&self, max_bytes: usize) -> Vec<ChatLine> {
        let mut left = max_bytes;
        let fitting = self.lines.iter().rev().take_while(|line| {
            let fits = size(line) <= left;
            left = left.saturating_sub(size(line));
            fits
        });
        let mut lines: Vec<ChatLine> = fitting.cloned().collect();
        lines.reverse();
        lines
    }

    pub fn next_line(&self) -> u32 {
        self.next_seq
    }

    /// Goes on from lines that were kept elsewhere.
    pub fn restore(&mut self, lines: &[ChatLine], next_line: u32) {
        for line in lines {
            self.push(line.clone());
        }
        let after = lines.last().map_or(1, |line| line.seq.wrapping_add(1));
        self.next_seq = next_line.max(after);
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
        self.push(line.clone());
        line
    }

    fn push(&mut self, line: ChatLine) {
        self.bytes += size(&line);
        self.lines.push_back(line);
        while self.lines.len() > self.limits.max_lines || self.bytes > self.limits.max_bytes {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= size(&oldest);
        }
    }

    /// The lines before `before`, or the latest, as many as are told at once; oldest first.
    pub fn page(&self, before: Option<u32>) -> Vec<ChatLine> {
        let mut left = self.limits.page_bytes;
        let earlier = self.lines.iter().rev();
        let earlier = earlier.filter(|line| before.is_none_or(|before| line.seq < before));
        let told = earlier.take_while(|line| {
            let fits = size(line) <= left;
            left = left.saturating_sub(size(line));
            fits
        });
        let mut page: Vec<ChatLine> = told.cloned().collect();
        page.reverse();
        page
    }
}

/// Names of fields, numbers and the sender's id.
pub const LINE_OVERHEAD: usize = 100;

/// Bytes of a line on the wire, but for escapes.
fn size(line: &ChatLine) -> usize {
    LINE_OVERHEAD + line.from.len() + line.name.len() + line.text.len()
}
