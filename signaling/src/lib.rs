//! Tianqiao's control plane: the web page, REST, the WebSocket of each participant, WHIP and WHEP,
//! and the meetings behind them. Media is answered and carried by SFU nodes on the bus.

mod api_keys;
mod app;
mod assets;
mod auth;
pub mod config;
mod data_dir;
pub mod file_limit;
mod fleet;
#[doc(hidden)]
pub mod fuzz_bodies;
mod gates;
mod held_body;
mod http;
mod limits;
mod listen;
pub mod logging;
mod meeting;
mod meetings;
mod metrics;
mod network;
pub mod node_http;
pub mod operator;
pub mod operator_token;
pub mod placement;
mod proof;
mod readiness;
mod refusal;
pub mod server;
mod session;
mod text;
mod tls;

pub use config::Config;
pub use server::Server;
