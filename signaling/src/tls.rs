//! Where HTTPS gets its certificate: files of the operator's, or one that signs itself.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::data_dir::DataDir;

/// Certificate and key of the self-signed certificate, in one PEM file.
const SELF_SIGNED: &str = "self-signed.pem";

/// `None`: plain HTTP.
pub fn load(config: &Config, data_dir: &DataDir) -> anyhow::Result<Option<TlsAcceptor>> {
    if let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) {
        let read = |path| std::fs::read(path).map_err(anyhow::Error::from);
        let tls = read(cert).and_then(|chain| acceptor(&chain, &read(key)?));
        return Ok(Some(tls.with_context(|| {
            format!("cannot use {} and {}", cert.display(), key.display())
        })?));
    }
    if config.plain_http || config.listen.ip().is_loopback() {
        return Ok(None);
    }
    let pem = data_dir
        .read_or_create(SELF_SIGNED, || self_signed(config))
        .context(SELF_SIGNED)?;
    tracing::warn!(
        "no tls-cert is set: serving HTTPS with a self-signed certificate ({}). Browsers will warn, and people must \
         make an exception for it; good for a LAN or a trial, not for the public",
        data_dir.path().join(SELF_SIGNED).display()
    );
    Ok(Some(acceptor(&pem, &pem).context(SELF_SIGNED)?))
}

fn acceptor(chain: &[u8], key: &[u8]) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.context("the certificate is not PEM")?;
    anyhow::ensure!(!chain.is_empty(), "there is no certificate in it");
    let key = PrivateKeyDer::from_pem_slice(key).context("the private key is not PEM")?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // Who comes again needs no certificate, which over a slow link is a third of a second; without it 256 visitors are known.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().context("session tickets")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn self_signed(config: &Config) -> io::Result<Vec<u8>> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let addresses = config.media_addr.iter().copied().chain([config.listen.ip()]);
    names.extend(addresses.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    let make = || -> Result<String, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "Tianqiao (self-signed)");
        Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
    };
    make().map(String::into_bytes).map_err(io::Error::other)
}
