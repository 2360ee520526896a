//! Interoperability of webhooks with the Python package `standardwebhooks`, in both directions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]

use std::{
    io::Write,
    process::{Command, Stdio},
};

use comms_core::{
    Headers,
    clock::Clock,
    webhooks::{Delivery, Secret, Signer, Verifier, WebhookError},
    wire,
};
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer/webhook_peer.py");

/// Runs the script on `cases` and returns its result for each of them.
fn run_peer(cases: &[Value]) -> Vec<String> {
    let python = std::env::var("COMMS_TEST_PYTHON").expect(
        "COMMS_TEST_PYTHON is not set: run scripts/test, or export COMMS_TEST_PYTHON=\"$(scripts/python)\"",
    );
    let mut peer = Command::new(&python)
        .arg(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("COMMS_TEST_PYTHON={python}: {e}"));
    peer.stdin.take().unwrap().write_all(Value::from(cases).to_string().as_bytes()).unwrap();
    let output = peer.wait_with_output().unwrap();
    assert!(output.status.success(), "the script failed: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Ids and bodies that are sensitive to encoding. The Python package takes text.
const SENT: [(&str, &str); 5] = [
    ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#),
    ("1", ""),
    ("msg/2-~!", "a.b.c\r\n\t"),
    ("018f-", "{\"name\":\"Zoë ☃ \u{10348}\"}"),
    ("x", "\0\u{7f} "),
];

fn secrets() -> Vec<Secret> {
    let with_length = |length: u8| {
        let key: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37) ^ length).collect();
        Secret::from_bytes(&key).unwrap()
    };
    [24, 25, 26, 32, 63, 64].map(with_length).into_iter().chain([Secret::generate().unwrap()]).collect()
}

fn sign(secrets: &[Secret], id: &str, body: &str) -> Headers {
    let delivery = Delivery::new(id, body.to_owned()).unwrap();
    let mut headers = Headers::new();
    let signer = Signer::new(secrets.iter().cloned(), Clock::system()).unwrap();
    signer.sign(&delivery).inject(&mut headers).unwrap();
    headers
}

#[test]
#[ignore = "needs Python packages; run scripts/test"]
fn the_peer_verifies_signatures_of_this_crate() {
    let old = Secret::generate().unwrap();
    let mut cases = Vec::new();
    let mut expected = Vec::new();
    let mut case = |secret: &Secret, headers: &Headers, body: &str, result: &'static str| {
        let headers: serde_json::Map<String, Value> = headers
            .iter()
            .map(|(name, value)| (name.to_owned(), str::from_utf8(value).unwrap().into()))
            .collect();
        cases.push(json!({"do": "verify", "secret": secret.expose(), "headers": headers, "body": body}));
        expected.push(result);
    };
    for secret in secrets() {
        for (id, body) in SENT {
            let headers = sign(std::slice::from_ref(&secret), id, body);
            case(&secret, &headers, body, "accepted");
            case(&secret, &headers, &format!("{body} "), "refused: No matching signature found");
            case(&old, &headers, body, "refused: No matching signature found");
            // During a rotation, a receiver with either secret accepts the request.
            let headers = sign(&[old.clone(), secret.clone()], id, body);
            case(&old, &headers, body, "accepted");
            case(&secret, &headers, body, "accepted");
        }
    }
    assert_eq!(run_peer(&cases), expected);
}

#[test]
#[ignore = "needs Python packages; run scripts/test"]
fn this_crate_verifies_signatures_of_the_peer() {
    let now = Clock::system().unix().as_secs();
    let secrets = secrets();
    let sent: Vec<_> = secrets.iter().flat_map(|secret| SENT.map(|(id, body)| (secret, id, body))).collect();
    let cases: Vec<_> = sent
        .iter()
        .map(|(secret, id, body)| {
            json!({"do": "sign", "secret": secret.expose(), "id": id, "timestamp": now, "body": body})
        })
        .collect();
    for ((secret, id, body), signature) in sent.into_iter().zip(run_peer(&cases)) {
        let headers: Headers = [
            (wire::WEBHOOK_ID, id.to_owned()),
            (wire::WEBHOOK_TIMESTAMP, now.to_string()),
            (wire::WEBHOOK_SIGNATURE, signature),
        ]
        .into_iter()
        .collect();
        let verifier = Verifier::new([Secret::generate().unwrap(), secret.clone()], Clock::system()).unwrap();
        assert_eq!(&*verifier.verify(&headers, body.as_bytes()).unwrap().id, id);
        let longer = format!("{body} ");
        assert_eq!(verifier.verify(&headers, longer.as_bytes()), Err(WebhookError::SignatureMismatch));
    }
}
