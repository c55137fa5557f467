//! One of several signaling instances on a bus, on threads of its own so that it can be killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tianqiao::{Config, Server};
use tianqiao_bus::in_process::InProcessBus;
use tokio::runtime::Runtime;

use super::{TestMeeting, WsClient};

pub struct Instance {
    pub url: String,
    pub http: reqwest::Client,
    server: Option<Server>,
    runtime: Option<Runtime>,
    registry: Registry,
    data_dir: PathBuf,
}

impl Instance {
    pub async fn start(bus: &Arc<InProcessBus>) -> Self {
        Self::start_with(bus, |_| {}).await
    }

    pub async fn start_with(bus: &Arc<InProcessBus>, change: impl FnOnce(&mut Config)) -> Self {
        let data_dir = std::env::temp_dir().join(format!("tianqiao-test-{}", uuid::Uuid::new_v4()));
        let mut config = Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            metrics_listen: None,
            data_dir: data_dir.clone(),
            ..Config::default()
        };
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().expect("a runtime");
        let registry = Registry::new();
        let starting = Server::start_in_fleet(config, bus.clone(), registry.clone());
        let server = runtime.spawn(starting).await.expect("no panic").expect("it starts");
        Self {
            url: server.url().to_owned(),
            http: reqwest::Client::new(),
            server: Some(server),
            runtime: Some(runtime),
            registry,
            data_dir,
        }
    }

    /// Ends it as `kill -9` does: nothing is said to anybody.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub async fn shutdown(&mut self) {
        let server = self.server.take().expect("it runs");
        let runtime = self.runtime.take().expect("it runs");
        runtime.spawn(server.shutdown()).await.expect("no panic");
        runtime.shutdown_background();
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        let request = self.request(Method::POST, path).json(&body);
        request.send().await.expect("an answer")
    }

    pub async fn meeting(&self, body: Value) -> TestMeeting {
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
        let path = format!("/api/v1/meetings/{meeting}/tokens");
        let response = self.post(&path, json!({ "name": name })).await;
        assert_eq!(response.status(), 201);
        let body: Value = response.json().await.expect("JSON");
        body["token"].as_str().expect("a token").to_owned()
    }

    pub async fn join(&self, meeting: &str, name: &str) -> (WsClient, Value) {
        let token = self.token(meeting, name).await;
        let mut client = WsClient::connect(&self.url).await;
        let joined = client.join(&token).await;
        assert_eq!(joined["type"], "joined", "{joined}");
        (client, joined)
    }

    /// Resumes as a client does: until it is let in, or told that there is nothing to resume.
    pub async fn resume(&self, joined: &Value) -> (WsClient, Value) {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let mut client = WsClient::connect(&self.url).await;
            client
                .send(json!({ "type": "resume", "session": joined["session"] }))
                .await;
            match client.recv_or_close().await {
                Ok(message) if message["code"] == "unavailable" => {}
                Ok(message) => return (client, message),
                Err(_) => {}
            }
            assert!(Instant::now() < until, "it is not let in");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The sum of a counter's samples that have those labels.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name);
        let metrics = metrics.flat_map(|family| family.get_metric());
        let wanted = metrics.filter(|metric| {
            let has = |(name, value): &(&str, &str)| {
                let mut own = metric.get_label().iter();
                own.any(|label| label.name() == *name && label.value() == *value)
            };
            labels.iter().all(has)
        });
        wanted.map(|metric| metric.get_counter().get_value() as u64).sum()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}
