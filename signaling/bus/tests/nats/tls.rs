//! NATS behind TLS with a certificate of one's own.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tianqiao_bus::Bus;
use tianqiao_bus::nats::{NatsBus, NatsConfig};
use tianqiao_bus::testing::NatsServer;

use super::suite::until;

/// Removed when it is dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("tianqiao-tls-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn only_a_server_with_the_right_certificate_is_trusted() {
    // As the binary does.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|params| params.signed_by(&key, &authority))
        .expect("a certificate");
    let dir = Dir::new();
    let ca = dir.write("ca.pem", &authority.pem());
    let cert = dir.write("cert.pem", &certificate.pem());
    let key = dir.write("key.pem", &key.serialize_pem());
    let server = NatsServer::start_with(&["--tls", "--tlscert", &cert, "--tlskey", &key]);
    let config = |ca: Option<&str>| NatsConfig {
        servers: vec![server.url().replace("nats://", "tls://")],
        ca: ca.map(|ca| Path::new(ca).to_owned()),
        ..NatsConfig::default()
    };
    let trusting = super::connect_with(config(Some(&ca))).await;
    trusting.kv().put("meetings", "m", "1".into()).await.expect("put");
    let doubting = NatsBus::connect(config(None)).await.expect("a bus");
    until("the client has refused", async || {
        server.log().contains("TLS handshake error")
    })
    .await;
    assert!(!*doubting.connected().borrow());
}
