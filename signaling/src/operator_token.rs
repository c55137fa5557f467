//! The operator's token, for what is no business of people in meetings.

use std::path::Path;

use anyhow::Context;
use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::bearer;

/// Only its hash is kept.
pub struct OperatorToken([u8; 32]);

impl OperatorToken {
    /// The first line of a file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the operator's token in {} cannot be read", path.display()))?;
        let token = text.lines().next().unwrap_or_default().trim();
        anyhow::ensure!(
            token.len() >= 16,
            "the operator's token in {} is shorter than 16 characters",
            path.display()
        );
        Ok(Self(Sha256::digest(token).into()))
    }

    /// Whether a request shows it, in constant time.
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_ok_and(|shown| Sha256::digest(shown).as_slice().ct_eq(&self.0).into())
    }
}
