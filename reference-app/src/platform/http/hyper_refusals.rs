//! A problem body for what hyper refuses by itself.
//!
//! A request whose head hyper cannot read reaches no service: hyper answers 400, 414 or 431 without a body, and closes. There
//! is no hook for it, so the answer is exchanged where it is written to the connection. It is recognised by what no response
//! of a service has: a status of these three, an empty body, and no `trace-id`.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context as Task, Poll, ready},
};

use comms_core::{Clock, Context};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which hyper's own refusals are problem details.
pub struct HyperRefusals<T> {
    inner: T,
    clock: Clock,
    /// Written in the place of hyper's answer, and how much of it has been.
    answer: Option<(Vec<u8>, usize)>,
}

impl<T> HyperRefusals<T> {
    /// `connection`, whose refused requests get trace ids of `clock`.
    pub const fn new(connection: T, clock: Clock) -> Self {
        Self { inner: connection, clock, answer: None }
    }
}

impl<T: AsyncWrite + Unpin> HyperRefusals<T> {
    /// Writes what stands in the place of hyper's answer.
    fn poll_answer(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, written)) = &mut self.answer {
            let rest = bytes.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.answer = None;
                break;
            }
            match ready!(Pin::new(&mut self.inner).poll_write(task, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *written += count,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HyperRefusals<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(task, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for HyperRefusals<T> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(task))?;
        match answer_for(bytes, &self.clock) {
            // Taken as a whole; the bytes that stand for it go out now or with the flush.
            Some(answer) => {
                self.answer = Some((answer, 0));
                match self.poll_answer(task) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(bytes.len())),
                }
            }
            None => Pin::new(&mut self.inner).poll_write(task, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(task))?;
        match slices {
            [only] => self.poll_write(task, only),
            _ => Pin::new(&mut self.inner).poll_write_vectored(task, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(task))?;
        Pin::new(&mut self.inner).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(task))?;
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}

/// The response in the place of `bytes`, if they are an empty refusal of hyper's.
fn answer_for(bytes: &[u8], clock: &Clock) -> Option<Vec<u8>> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let (line, code, title, detail) = match status {
        b"400" => (
            "400 Bad Request",
            "malformed-request",
            "The request is malformed",
            "The head of the request is not HTTP.",
        ),
        b"414" => {
            ("414 URI Too Long", "uri-too-long", "The URI is too long", "Send a shorter request target.")
        }
        b"431" => (
            "431 Request Header Fields Too Large",
            "headers-too-large",
            "The header section is too large",
            "Send fewer or shorter header fields.",
        ),
        _ => return None,
    };
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?.to_ascii_lowercase();
    let mut fields = head.split("\r\n").skip(1);
    let is_empty = fields.clone().any(|field| field == "content-length: 0");
    if !is_empty || fields.any(|field| field.is_empty() || field.starts_with("trace-id:")) {
        return None;
    }
    let trace_id = Context::root(clock).trace.map(|trace| trace.trace_id()).unwrap_or_default();
    let status = line.get(..3)?;
    // The texts are constants without a character that JSON escapes.
    let body = format!(
        r#"{{"type":"/problems/{code}","title":"{title}","status":{status},"detail":"{detail}","trace_id":"{trace_id}"}}"#
    );
    tracing::debug!(status, trace_id, "a request that cannot be read");
    Some(
        format!(
            "HTTP/1.1 {line}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\ntrace-id: {trace_id}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
        service::TowerToHyperService,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What a server with this adapter answers to `request`, over a pipe that takes 16 bytes at a time.
    async fn answer(request: &str) -> String {
        let (client, server) = tokio::io::duplex(16);
        let routes = Router::new()
            .route("/", get(async || "fine"))
            .route("/empty", get(async || axum::http::StatusCode::BAD_REQUEST));
        let routes = super::super::checked(routes, &Clock::system());
        let io = TokioIo::new(HyperRefusals::new(server, Clock::system()));
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let served = builder.serve_connection(io, TowerToHyperService::new(routes)).await;
            drop(served);
        });
        let (mut reader, mut writer) = tokio::io::split(client);
        let request = request.to_owned();
        tokio::spawn(async move {
            let _ = writer.write_all(request.as_bytes()).await;
            std::future::pending::<()>().await;
        });
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn what_hyper_refuses_has_a_problem_body() {
        let fields: String = (0..200).map(|n| format!("x{n}: 1\r\n")).collect();
        let table = [
            (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(70_000)), 414),
            (format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"), 431),
            ("GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), 400),
            ("nonsense\r\n\r\n".to_owned(), 400),
        ];
        for (request, status) in table {
            let answer = answer(&request).await;
            let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["status"], status, "{body}");
            let trace_id = body["trace_id"].as_str().unwrap();
            assert!(trace_id.len() == 32 && head.contains(trace_id), "{head}\n{body}");
        }
    }

    #[tokio::test]
    async fn what_a_service_answers_is_left_alone() {
        let fine = answer("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(fine.starts_with("HTTP/1.1 200 OK\r\n") && fine.ends_with("\r\n\r\nfine"), "{fine}");
        let empty = answer("GET /empty HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(empty.starts_with("HTTP/1.1 400") && empty.ends_with("\r\n\r\n"), "{empty}");
    }
}
