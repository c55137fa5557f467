//! HTTP/1.1 as attackers write it: any bytes, on a connection from any loopback address.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ctx::{Ctx, connect};

/// Largest head and body of an answer that are read.
const MAX_ANSWER: usize = 64 << 20;

/// A kept-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Connection {
    pub async fn open(ctx: &Ctx, index: usize) -> Result<Self> {
        Ok(Self::new(connect(ctx, index).await?))
    }

    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Sends a request and reads the answer to it.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    pub async fn answer(&mut self) -> Result<Answer> {
        let head_len = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_len]).into_owned();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.context("no status line")?;
        self.buffer.drain(..head_len);
        let body = match header(&head, "transfer-encoding") {
            Some("chunked") => self.chunks().await?,
            _ => {
                let len = header(&head, "content-length").and_then(|len| len.parse().ok());
                self.take(len.unwrap_or_default()).await?
            }
        };
        Ok(Answer { status, body })
    }

    async fn take(&mut self, len: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < len {
            self.read_more().await?;
        }
        Ok(self.buffer.drain(..len).collect())
    }

    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break at;
                }
                self.read_more().await?;
            };
            let len = String::from_utf8_lossy(&self.buffer[..line]).into_owned();
            let len = usize::from_str_radix(len.trim(), 16).context("no chunk size")?;
            self.buffer.drain(..line + 2);
            let mut chunk = self.take(len + 2).await?;
            chunk.truncate(len);
            body.extend(chunk);
            if len == 0 {
                return Ok(body);
            }
        }
    }

    async fn read_more(&mut self) -> Result<()> {
        if self.buffer.len() > MAX_ANSWER {
            bail!("an answer of more than {MAX_ANSWER} bytes");
        }
        self.buffer.reserve(16 << 10);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }

    /// Waits until the server closes; what it says until then is thrown away.
    pub async fn closed(&mut self) {
        let mut buffer = [0; 4096];
        while matches!(self.stream.read(&mut buffer).await, Ok(read) if read > 0) {}
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A request to the server by its address.
pub fn request(ctx: &Ctx, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let host = ctx.http;
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}");
    if !body.is_empty() {
        text += &format!("content-length: {}\r\n", body.len());
    }
    (text + "\r\n" + body).into_bytes()
}

/// A request with a JSON body.
pub fn post(ctx: &Ctx, path: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    request(ctx, "POST", path, "content-type: application/json\r\n", &body)
}

/// Counts an answer by what it means to an attacker.
pub fn tally(ctx: &Ctx, answer: &Answer) {
    let what = match answer.status {
        200..=299 => "served",
        429 => "rate limited",
        _ => "refused",
    };
    ctx.count(what, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_read_one_by_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
                    HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        server.write_all(text.as_bytes()).await.unwrap();
        drop(server);
        let mut connection = Connection::new(stream);
        let first = connection.answer().await.unwrap();
        assert_eq!((first.status, &first.body[..]), (200, &b"ok"[..]));
        let second = connection.answer().await.unwrap();
        assert_eq!((second.status, &second.body[..]), (404, &b"abcd"[..]));
        assert!(connection.answer().await.is_err());
    }
}
