//! Who may do what: join and host tokens (JWT, HS256) and passcodes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tianqiao_protocol::ErrorCode;

use crate::refusal::Refusal;

/// Host tokens outlive the meeting that they end.
const HOST_TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenType {
    Join,
    Host,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The person that the token was made for; the same over several sessions.
    pub sub: String,
    pub typ: TokenType,
    /// The meeting's id.
    pub meeting: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Seconds since the Unix epoch.
    pub iat: u64,
    pub exp: u64,
}

/// Makes and checks tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    join_ttl: Duration,
}

impl Tokens {
    pub fn new(secret: &[u8; 32], join_ttl: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            join_ttl,
        }
    }

    pub fn join(&self, meeting: &str, name: &str) -> String {
        self.sign(TokenType::Join, meeting, name, self.join_ttl)
    }

    pub fn host(&self, meeting: &str) -> String {
        self.sign(TokenType::Host, meeting, "", HOST_TOKEN_TTL)
    }

    fn sign(&self, typ: TokenType, meeting: &str, name: &str, ttl: Duration) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = Claims {
            sub: random_id::<12>(),
            typ,
            meeting: meeting.to_owned(),
            name: name.to_owned(),
            iat: now,
            exp: now + ttl.as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .expect("claims of plain strings and numbers always sign")
    }

    /// The meeting of a valid token of any type.
    pub fn meeting_of(&self, token: &str) -> Option<String> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        Some(claims.ok()?.claims.meeting)
    }

    pub fn verify(&self, token: &str, typ: TokenType) -> Result<Claims, Refusal> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => Refusal::new(ErrorCode::TokenExpired, "the token has expired"),
                _ => Refusal::new(ErrorCode::TokenInvalid, "the token is not valid"),
            })?
            .claims;
        if claims.typ != typ {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token is for something else"));
        }
        Ok(claims)
    }
}

/// The token of `Authorization: Bearer …`.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| Refusal::new(ErrorCode::TokenInvalid, "a bearer token is needed"))
}

/// A passcode as it is kept: salted and hashed. It lives in memory for as long as its meeting and
/// guesses are rate-limited, so a slow hash would only give strangers a way to burn our CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passcode {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl Passcode {
    pub fn new(text: &str) -> Self {
        let salt = random_bytes();
        Self {
            salt,
            hash: Self::hash(&salt, text),
        }
    }

    /// In constant time.
    pub fn matches(&self, text: &str) -> bool {
        Self::hash(&self.salt, text).ct_eq(&self.hash).into()
    }

    fn hash(salt: &[u8; 16], text: &str) -> [u8; 32] {
        Sha256::new().chain_update(salt).chain_update(text).finalize().into()
    }
}

pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// `N` random bytes in URL-safe characters.
pub fn random_id<const N: usize>() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<N>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ttl: u64) -> Tokens {
        Tokens::new(&[7; 32], Duration::from_secs(ttl))
    }

    #[test]
    fn a_token_says_who_joins_what() {
        let tokens = tokens(60);
        let claims = tokens
            .verify(&tokens.join("m", "Ann"), TokenType::Join)
            .expect("a valid token");
        assert_eq!((claims.meeting.as_str(), claims.name.as_str()), ("m", "Ann"));
        assert_eq!(claims.exp - claims.iat, 60);
    }

    #[test]
    fn bad_tokens_have_codes() {
        let good = tokens(60);
        let token = good.join("m", "Ann");
        let other = Tokens::new(&[8; 32], Duration::from_secs(60)).join("m", "Ann");
        let unsigned = format!(
            "{}.{}.",
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0",
            token.split('.').nth(1).expect("a payload")
        );
        let mut expired = good.verify(&token, TokenType::Join).expect("a valid token");
        expired.exp = expired.iat - 1;
        let expired = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &expired, &good.encoding).expect("signs");
        for (token, code) in [
            (other, ErrorCode::TokenInvalid),
            (unsigned, ErrorCode::TokenInvalid),
            (String::new(), ErrorCode::TokenInvalid),
            (expired, ErrorCode::TokenExpired),
            (good.host("m"), ErrorCode::Forbidden),
        ] {
            assert_eq!(good.verify(&token, TokenType::Join).expect_err(&token).code, code);
        }
    }

    #[test]
    fn only_the_right_passcode_matches() {
        let passcode = Passcode::new("tiān qiáo");
        assert!(passcode.matches("tiān qiáo"));
        assert!(!passcode.matches("tian qiao"));
        assert!(!passcode.matches(""));
    }

    #[test]
    fn bearer_is_read_from_its_header() {
        let mut headers = HeaderMap::new();
        assert!(bearer(&headers).is_err());
        for (value, expected) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer  x", Some("x")),
            ("Basic x", None),
        ] {
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            assert_eq!(bearer(&headers).ok(), expected, "{value}");
        }
    }
}
