//! What one person may send over all its WebSockets: messages, and their bytes once inflated.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::config::Config;
use crate::limits::{Rate, TokenBucket};

#[derive(Clone, Copy)]
pub struct BudgetRates {
    messages: Rate,
    bytes: Rate,
}

impl BudgetRates {
    pub fn new(config: &Config) -> Self {
        Self {
            messages: Rate::per_second(config.message_rate, config.message_burst),
            bytes: Rate::bytes(config.message_bytes_rate.0, config.message_bytes_burst.0),
        }
    }
}

pub struct Budget(Mutex<Buckets>);

struct Buckets {
    messages: TokenBucket,
    bytes: TokenBucket,
}

impl Budget {
    pub fn new(rates: BudgetRates, now: Instant) -> Self {
        Self(Mutex::new(Buckets {
            messages: TokenBucket::new(rates.messages, now),
            bytes: TokenBucket::new(rates.bytes, now),
        }))
    }

    /// Takes a message of `bytes` as it came in, before anything is done with it.
    pub fn take(&self, now: Instant, bytes: usize) -> Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.bytes.check(now)?;
        buckets.messages.take(now)?;
        buckets.bytes.charge(now, bytes);
        Ok(())
    }

    /// Charges what a message has grown to, or what it made the server send; later messages wait for it.
    pub fn charge(&self, now: Instant, bytes: usize) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.bytes.charge(now, bytes);
    }

    fn is_full(&self, now: Instant) -> bool {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.messages.is_full(now) && buckets.bytes.is_full(now)
    }
}

/// The budgets of those who have joined, by `sub` of their tokens.
pub struct Budgets {
    rates: BudgetRates,
    by_identity: DashMap<String, Arc<Budget>>,
}

impl Budgets {
    pub fn new(config: &Config) -> Self {
        Self {
            rates: BudgetRates::new(config),
            by_identity: DashMap::new(),
        }
    }

    /// For somebody who has joined.
    pub fn of(&self, identity: &str, now: Instant) -> Arc<Budget> {
        let budget = self.by_identity.entry(identity.to_owned());
        budget.or_insert_with(|| Arc::new(self.unknown(now))).clone()
    }

    /// For a WebSocket that has not joined.
    pub fn unknown(&self, now: Instant) -> Budget {
        Budget::new(self.rates, now)
    }

    /// Forgets those that nobody uses and that are full again.
    pub fn sweep(&self, now: Instant) {
        self.by_identity
            .retain(|_, budget| Arc::strong_count(budget) > 1 || !budget.is_full(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;

    #[test]
    fn one_person_has_one_budget_and_pays_for_what_grows() {
        let config = Config {
            message_rate: 10,
            message_burst: 3,
            message_bytes_rate: ByteSize(100),
            message_bytes_burst: ByteSize(1_000),
            ..Config::default()
        };
        let start = Instant::now();
        let budgets = Budgets::new(&config);
        let (one, two) = (budgets.of("ann", start), budgets.of("ann", start));
        assert_eq!(one.take(start, 10), Ok(()));
        one.charge(start, 2_000);
        assert!(
            two.take(start, 1).is_err(),
            "what one connection inflated the other waits for"
        );
        assert_eq!(budgets.of("bob", start).take(start, 1), Ok(()));
        let later = start + Duration::from_secs(20);
        for passes in [true, true, true, false] {
            assert_eq!(two.take(later, 1).is_ok(), passes);
        }
        drop((one, two));
        budgets.sweep(later);
        assert_eq!(budgets.by_identity.len(), 1, "bob's is full again, ann's is not");
    }
}
