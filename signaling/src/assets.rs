//! The embedded web client, compressed once at the start.

use std::collections::HashMap;
use std::io::Write;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use crate::http::accepts;

#[derive(RustEmbed)]
#[folder = "../web-client/dist"]
struct Dist;

/// Vite names the files in here after their content.
const HASHED: &str = "assets/";

/// What is served instead where the binary was built before the web client.
const PLACEHOLDER: &str = "<!doctype html><meta charset=utf-8><title>Tianqiao</title>\
<p>This server was built without its web client. Run <code>make build</code> and start it again.\n";

pub struct Assets(HashMap<String, Asset>);

struct Asset {
    mime: HeaderValue,
    etag: HeaderValue,
    hashed: bool,
    plain: Bytes,
    gzip: Option<Bytes>,
    brotli: Option<Bytes>,
}

impl Assets {
    pub fn embedded() -> Self {
        let files = Dist::iter().filter_map(|path| Some((path.to_string(), Dist::get(&path)?.data.into_owned())));
        let mut files: HashMap<String, Vec<u8>> = files.collect();
        files
            .entry("index.html".to_owned())
            .or_insert_with(|| PLACEHOLDER.into());
        Self::new(files)
    }

    /// `files` by path; `x.gz` and `x.br` are taken as the compressed forms of `x`.
    fn new(mut files: HashMap<String, Vec<u8>>) -> Self {
        let paths: Vec<String> = files.keys().cloned().collect();
        let mut assets = HashMap::new();
        for path in paths {
            let stem = path.strip_suffix(".gz").or_else(|| path.strip_suffix(".br"));
            if stem.is_some_and(|stem| files.contains_key(stem) || assets.contains_key(stem)) {
                continue;
            }
            let brotli = files.remove(&format!("{path}.br"));
            let gzip = files.remove(&format!("{path}.gz"));
            if let Some(plain) = files.remove(&path) {
                assets.insert(path.clone(), Asset::new(&path, plain, gzip, brotli));
            }
        }
        Self(assets)
    }

    /// The answer to `GET path`, without the leading slash. `None`: there is no such file.
    pub fn serve(&self, path: &str, request: &HeaderMap) -> Option<Response<Body>> {
        let asset = self.0.get(path)?;
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, asset.etag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(asset.caching()));
        if is_current(request, &asset.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Some(response);
        }
        headers.insert(header::CONTENT_TYPE, asset.mime.clone());
        let (body, encoding) = asset.choose(request);
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        *response.body_mut() = Body::from(body);
        Some(response)
    }
}

impl Asset {
    fn new(path: &str, plain: Vec<u8>, gzip: Option<Vec<u8>>, brotli: Option<Vec<u8>>) -> Self {
        let mime = mime_guess::from_path(path).first_or_octet_stream();
        let text = mime.type_() == "text" || matches!(mime.subtype().as_str(), "javascript" | "json" | "svg" | "wasm");
        let charset = if mime.type_() == "text" { "; charset=utf-8" } else { "" };
        let mime = format!("{}{charset}", mime.essence_str());
        let digest = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(&plain)[..12]);
        let gzip = gzip.or_else(|| text.then(|| compress(&plain)));
        Self {
            mime: HeaderValue::from_str(&mime).expect("a MIME type is a valid header"),
            etag: HeaderValue::from_str(&format!("W/\"{digest}\"")).expect("base64 is a valid header"),
            hashed: path.starts_with(HASHED),
            gzip: gzip.filter(|gzip| gzip.len() < plain.len()).map(Bytes::from),
            brotli: brotli.map(Bytes::from),
            plain: plain.into(),
        }
    }

    fn caching(&self) -> &'static str {
        if self.hashed {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        }
    }

    fn choose(&self, request: &HeaderMap) -> (Bytes, Option<&'static str>) {
        match (&self.brotli, &self.gzip) {
            (Some(brotli), _) if accepts(request, "br") => (brotli.clone(), Some("br")),
            (_, Some(gzip)) if accepts(request, "gzip") => (gzip.clone(), Some("gzip")),
            _ => (self.plain.clone(), None),
        }
    }
}

fn is_current(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    known.is_some_and(|known| known.split(',').any(|tag| tag.trim().as_bytes() == etag.as_bytes()))
}

fn compress(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assets() -> Assets {
        let text = "let a = 1;\n".repeat(100).into_bytes();
        let files = [
            ("index.html", b"<p>".to_vec()),
            ("assets/a-1.js", text.clone()),
            ("assets/b-1.js", text.clone()),
            ("assets/b-1.js.br", b"brotli".to_vec()),
            ("assets/b-1.js.gz", b"gzip".to_vec()),
        ];
        Assets::new(files.map(|(path, data)| (path.to_owned(), data)).into())
    }

    fn request(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn the_smallest_form_that_the_client_takes() {
        let assets = assets();
        for (path, accepted, expected) in [
            ("assets/a-1.js", "gzip, br", Some("gzip")),
            ("assets/b-1.js", "gzip, br;q=0.5", Some("br")),
            ("assets/b-1.js", "gzip, br;q=0", Some("gzip")),
            ("assets/b-1.js", "zstd", None),
            ("index.html", "gzip", None),
        ] {
            let response = assets
                .serve(path, &request(header::ACCEPT_ENCODING, accepted))
                .expect(path);
            let encoding = response.headers().get(header::CONTENT_ENCODING);
            assert_eq!(
                encoding.map(HeaderValue::as_bytes),
                expected.map(str::as_bytes),
                "{path} {accepted}"
            );
        }
        assert!(assets.serve("assets/b-1.js.br", &HeaderMap::new()).is_none());
    }

    #[test]
    fn hashed_files_are_kept_for_good_and_others_are_asked_for_again() {
        let assets = assets();
        for (path, caching) in [
            ("index.html", "no-cache"),
            ("assets/a-1.js", "public, max-age=31536000, immutable"),
        ] {
            let response = assets.serve(path, &HeaderMap::new()).expect(path);
            assert_eq!(response.headers()[header::CACHE_CONTROL], caching);
            let etag = response.headers()[header::ETAG].to_str().expect("text");
            let again = assets.serve(path, &request(header::IF_NONE_MATCH, etag)).expect(path);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        }
    }
}
