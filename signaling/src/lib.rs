//! Tianqiao's control plane: the web page, REST, the WebSocket of each participant, WHIP and WHEP,
//! and the meetings behind them. Media is answered and carried by SFU nodes on the bus.

pub mod auth;
pub mod config;
pub mod data_dir;
pub mod limits;
pub mod meeting;
pub mod metrics;
pub mod refusal;
