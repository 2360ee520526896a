//! A row that does not decode is parked with its key. Other keys continue, and the row is delivered after its repair.

use comms_outbox::ParkedState;

use super::{Backend, message, recorder::Recorder, run, send, until};

/// `blob` returns the literal of bytes in SQL.
pub async fn a_row_that_does_not_decode_parks_its_key_alone<B: Backend>(blob: fn(&[u8]) -> String) {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let damages: [(&str, Vec<u8>); 4] = [
        ("short", vec![0, 0]),
        ("long", vec![0xff; 1024 * 1024]),
        // A name that is not UTF-8.
        ("text", vec![0, 0, 0, 1, 0xff, 0, 0, 0, 0]),
        // Without a key.
        ("", vec![1]),
    ];
    let set = async |id: &str, bytes: &[u8]| {
        let headers = blob(bytes);
        backend
            .sql(&format!("UPDATE {{s}}.comms_outbox SET headers = {headers} WHERE msg_id = '{id}'"))
            .await;
    };
    let mut ids = Vec::new();
    for (key, bytes) in &damages {
        let rows = [message(key, "1"), message(key, "2"), message("good", key)];
        send(&backend, &rows).await;
        set(rows[0].id(), bytes).await;
        ids.push(rows[0].id().to_owned());
    }
    let relay = run(backend.relay(recorder.clone()).page(2));
    // The rows of the good key, and the row behind the damaged row without a key.
    until("other keys continue", async || recorder.count() == 5).await;
    until("parked", async || backend.parked().await.len() == 7).await;
    let parked = backend.parked().await;
    let kinds: Vec<_> = parked.iter().map(|p| p.error_kind.as_deref()).collect();
    let internal = Some("internal");
    assert_eq!(kinds, [internal, None, internal, None, internal, None, internal]);
    assert!(parked[0].error.contains("headers does not decode"), "{}", parked[0].error);

    backend.release(Some("short")).await;
    until("damaged still", async || {
        let parked = backend.parked().await;
        parked[0].attempts == 2 && parked.iter().all(|p| p.state == ParkedState::Parked)
    })
    .await;
    send(&backend, &[message("good", "more"), message("short", "3")]).await;
    until("the relay lives", async || recorder.payloads().contains(&"more".to_owned())).await;

    for (id, (key, _)) in ids.iter().zip(&damages) {
        set(id, &[]).await;
        backend.release((!key.is_empty()).then_some(*key)).await;
    }
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    until("everything is delivered", async || recorder.count() == 14).await;
    let firsts = recorder.first_by_key();
    assert_eq!(
        (&firsts["short"][..], &firsts["long"][..]),
        (&["1", "2", "3"].map(str::to_owned)[..], &["1", "2"].map(str::to_owned)[..])
    );
    relay.stop().await;
}

/// One megabyte of valid headers is delivered like any other.
pub async fn a_megabyte_of_headers_is_delivered<B: Backend>(blob: fn(&[u8]) -> String) {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let rows = [message("k", "1"), message("k", "2")];
    send(&backend, &rows).await;
    let size = 1024 * 1024;
    let mut headers = vec![0, 0, 0, 1, b'h'];
    headers.extend(u32::try_from(size).unwrap().to_be_bytes());
    headers.resize(headers.len() + size, b'x');
    let (headers, id) = (blob(&headers), rows[0].id());
    backend.sql(&format!("UPDATE {{s}}.comms_outbox SET headers = {headers} WHERE msg_id = '{id}'")).await;
    let relay = run(backend.relay(recorder.clone()));
    until("both are delivered", async || recorder.count() == 2).await;
    assert_eq!(recorder.seen()[0].headers().get("h").map(|value| value.len()), Some(size));
    relay.stop().await;
}
