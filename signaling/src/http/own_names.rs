//! The names under which the server is reached. A browser that was lured to a strange page must not use the server in that
//! page's name: `Host` shows a name that was pointed at us (DNS rebinding), `Origin` a page of another server.

use std::collections::HashSet;
use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, header};

use crate::config::Config;

pub struct OwnNames {
    /// `None`: TLS has shown that the browser means us, whatever the name.
    hosts: Option<HashSet<String>>,
    origins: HashSet<String>,
}

impl OwnNames {
    pub fn new(config: &Config, tls: bool) -> Self {
        let public = config.public_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        let public_host = public.as_ref().and_then(Uri::host).map(str::to_owned);
        let hosts = config.allowed_hosts.iter().cloned().chain(public_host);
        let hosts = hosts.map(|host| bare(&host).to_owned()).collect();
        let origins = config.allowed_origins.iter().chain(&config.public_url);
        Self {
            hosts: (!tls).then_some(hosts),
            origins: origins.filter_map(|origin| normal_origin(origin)).collect(),
        }
    }

    /// Only those that nobody else can have: `localhost` and addresses.
    pub fn of_this_machine() -> Self {
        Self {
            hosts: Some(HashSet::new()),
            origins: HashSet::new(),
        }
    }

    /// A request without a host is no browser's.
    pub fn is_own_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(hosts) = &self.hosts else {
            return true;
        };
        match requested_host(uri, headers) {
            None => true,
            Some(host) => {
                let host = bare(&host);
                is_local_or_address(&host) || hosts.contains(&host)
            }
        }
    }

    /// A request without an origin is no page's, or one that the same page may send.
    pub fn is_own_origin(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Some(origin) = origin.to_str().ok().and_then(normal_origin) else {
            return false;
        };
        if self.origins.contains(&origin) {
            return true;
        }
        let host = requested_host(uri, headers).map(|host| host.to_lowercase());
        origin.split_once("://").map(|(_, host)| host) == host.as_deref()
    }
}

/// HTTP/2 names it in the URI, HTTP/1 in a header.
pub fn requested_host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let of_uri = uri.authority().map(|authority| authority.as_str().to_owned());
    let of_header = || headers.get(header::HOST).map(HeaderValue::as_bytes);
    of_uri.or_else(|| Some(String::from_utf8_lossy(of_header()?).into_owned()))
}

pub fn is_local_or_address(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host == "localhost" || host.ends_with(".localhost") || address.unwrap_or(host).parse::<IpAddr>().is_ok()
}

/// In lower case, without a port and the dot of a full name.
pub fn bare(host: &str) -> String {
    let host = host.trim().to_lowercase();
    let parsed = host.parse::<Authority>();
    let host = parsed.as_ref().map_or(host.as_str(), Authority::host);
    host.strip_suffix('.').unwrap_or(host).to_owned()
}

/// `scheme://host[:port]` in lower case, without the port that the scheme implies; `None` for `null` and the like.
fn normal_origin(origin: &str) -> Option<String> {
    let (scheme, host) = origin.trim().trim_end_matches('/').split_once("://")?;
    let (scheme, mut host) = (scheme.to_lowercase(), host.to_lowercase());
    let implied = match scheme.as_str() {
        "https" => ":443",
        _ => ":80",
    };
    if let Some(short) = host.strip_suffix(implied) {
        host = short.to_owned();
    }
    let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
    is_host.then(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tls: bool) -> OwnNames {
        let config = Config {
            public_url: Some("https://Meet.example.org/".to_owned()),
            allowed_hosts: vec!["box.lan".to_owned()],
            allowed_origins: vec!["https://app.example.org:443".to_owned()],
            ..Config::default()
        };
        OwnNames::new(&config, tls)
    }

    fn headers(list: &[(header::HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| text.parse().expect("a header");
        list.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    #[test]
    fn strange_names_are_no_host_of_ours() {
        let path = Uri::from_static("/");
        for (host, own) in [
            ("localhost:8080", true),
            ("x.localhost", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[2001:db8::1]", true),
            ("192.0.2.7", true),
            ("meet.example.org", true),
            ("MEET.example.org.:443", true),
            ("box.lan:8080", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            let headers = headers(&[(header::HOST, host)]);
            assert_eq!(names(false).is_own_host(&path, &headers), own, "{host}");
            assert!(names(true).is_own_host(&path, &headers));
        }
        assert!(names(false).is_own_host(&path, &HeaderMap::new()));
        let http2 = Uri::from_static("http://evil.example/");
        assert!(!names(false).is_own_host(&http2, &HeaderMap::new()));
    }

    #[test]
    fn pages_of_others_have_no_origin_of_ours() {
        let path = Uri::from_static("/");
        for (host, origin, own) in [
            ("localhost:8080", "http://localhost:8080", true),
            ("localhost:8080", "http://localhost:9090", false),
            ("box.lan", "http://box.lan", true),
            ("box.lan", "http://BOX.lan:80", true),
            ("10.0.0.1", "https://meet.example.org", true),
            ("10.0.0.1", "https://app.example.org", true),
            ("10.0.0.1", "http://app.example.org", false),
            ("10.0.0.1", "https://evil.example", false),
            ("evil.example@10.0.0.1", "http://evil.example", false),
            ("localhost:8080", "null", false),
            ("localhost:8080", "", false),
        ] {
            let headers = headers(&[(header::HOST, host), (header::ORIGIN, origin)]);
            assert_eq!(names(false).is_own_origin(&path, &headers), own, "{host} {origin}");
        }
        let without = headers(&[(header::HOST, "localhost")]);
        assert!(names(false).is_own_origin(&path, &without));
    }
}
