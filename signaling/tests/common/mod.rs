//! A server on loopback over a media node that only pretends: protocol tests need no media.

#![allow(dead_code)] // each test file uses a part

pub mod client;
pub mod fake_node;
pub mod fake_rooms;
pub mod instance;

use std::path::PathBuf;
use std::sync::Arc;

use prometheus::Registry;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tianqiao::{Config, Server};
use tianqiao_bus::in_process::InProcessBus;

pub use client::WsClient;
pub use fake_node::FakeNode;

pub struct TestServer {
    pub url: String,
    pub metrics_url: String,
    server: Option<Server>,
    pub bus: Arc<InProcessBus>,
    pub node: FakeNode,
    pub http: reqwest::Client,
    data_dir: PathBuf,
}

pub struct TestMeeting {
    pub id: String,
    pub code: String,
    pub host_token: String,
}

pub async fn start() -> TestServer {
    start_with(|_| {}).await
}

pub async fn start_with(change: impl FnOnce(&mut Config)) -> TestServer {
    let data_dir = std::env::temp_dir().join(format!("tianqiao-test-{}", uuid::Uuid::new_v4()));
    let mut config = Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        metrics_listen: Some("127.0.0.1:0".parse().expect("an address")),
        data_dir: data_dir.clone(),
        ..Config::default()
    };
    change(&mut config);
    let bus = Arc::new(InProcessBus::new());
    let server = Server::start(config, bus.clone(), Registry::new())
        .await
        .expect("the server starts");
    let node = FakeNode::start(bus.clone());
    let http = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .build()
        .expect("an HTTP client");
    TestServer {
        url: server.url().to_owned(),
        metrics_url: server.metrics_url().unwrap_or_default().to_owned(),
        server: Some(server),
        bus,
        node,
        http,
        data_dir,
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}

impl TestServer {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    /// What `/metrics` shows.
    pub async fn metrics(&self) -> String {
        let request = self.http.get(format!("{}/metrics", self.metrics_url));
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.text().await.expect("text")
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.request(Method::POST, path)
            .json(&body)
            .send()
            .await
            .expect("an answer")
    }

    pub async fn meeting(&self) -> TestMeeting {
        self.meeting_with(json!({})).await
    }

    pub async fn meeting_with(&self, body: Value) -> TestMeeting {
        let response = self.post("/api/v1/meetings", body).await;
        assert_eq!(response.status(), 201);
        let body: Value = response.json().await.expect("JSON");
        let text = |key: &str| body[key].as_str().expect(key).to_owned();
        TestMeeting {
            id: text("id"),
            code: text("code"),
            host_token: text("host_token"),
        }
    }

    pub async fn token(&self, meeting: &str, name: &str) -> String {
        let response = self
            .post(&format!("/api/v1/meetings/{meeting}/tokens"), json!({ "name": name }))
            .await;
        assert_eq!(response.status(), 201);
        let body: Value = response.json().await.expect("JSON");
        body["token"].as_str().expect("a token").to_owned()
    }

    /// The running server, to stop it.
    pub fn take(&mut self) -> Server {
        self.server.take().expect("taken once")
    }

    /// A join token that expired long ago.
    pub fn expired_token(&self, meeting: &str) -> String {
        let secret = std::fs::read(self.data_dir.join("token-secret")).expect("the secret");
        let claims = json!({ "sub": "x", "typ": "join", "meeting": meeting, "name": "Ann", "iat": 1, "exp": 2 });
        let key = jsonwebtoken::EncodingKey::from_secret(&secret);
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("it signs")
    }

    pub async fn connect(&self) -> WsClient {
        WsClient::connect(&self.url).await
    }

    /// Joins with a token of its own; the answer is the `joined` message.
    pub async fn join(&self, meeting: &str, name: &str) -> (WsClient, Value) {
        let token = self.token(meeting, name).await;
        let mut client = self.connect().await;
        let joined = client.join(&token).await;
        assert_eq!(joined["type"], "joined", "{joined}");
        (client, joined)
    }
}

/// Status and code of a refusal.
pub async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("a JSON error");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()));
    (status, body["code"].as_str().expect("a code").to_owned())
}
