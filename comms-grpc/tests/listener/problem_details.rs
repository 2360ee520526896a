//! Requests that hyper refuses, so that they reach no service.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, over_each_transport};

/// Returns the whole response to `request`.
async fn response_to(server: &Server, request: &str) -> String {
    let socket = server.connect().await;
    let (mut reader, mut writer) = tokio::io::split(socket);
    let request = request.to_owned();
    let sending = tokio::spawn(async move {
        let _ = writer.write_all(request.as_bytes()).await;
        writer
    });
    let mut response = Vec::new();
    let _ = reader.read_to_end(&mut response).await;
    drop(sending.await);
    String::from_utf8(response).unwrap()
}

#[tokio::test]
async fn requests_that_hyper_refuses_get_problem_details_if_enabled() {
    over_each_transport(async |transport| {
        let fields: String = (0..200).map(|n| format!("x{n}: 1\r\n")).collect();
        let table = [
            (format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"), 431),
            ("GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), 400),
            ("nonsense\r\n\r\n".to_owned(), 400),
        ];
        let with_details = Server::start(transport, |config| config.problem_details = true).await;
        let plain = Server::start(transport, |_| {}).await;
        for (request, status) in table {
            let text = response_to(&with_details, &request).await;
            let (head, body) = text.split_once("\r\n\r\n").expect(&text);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            assert!(body.contains(&format!("\"status\":{status}")), "{body}");
            let trace_id = head.split("trace-id: ").nth(1).and_then(|rest| rest.get(..32)).expect(head);
            assert!(body.contains(trace_id), "{head}\n{body}");

            let text = response_to(&plain, &request).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && text.ends_with("\r\n\r\n"), "{text}");
        }
        with_details.assert_serves().await;
    })
    .await;
}
