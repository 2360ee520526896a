//! Messages that fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    bench::{Bench, ids},
    log::Reaction,
};
use crate::{
    Error, ErrorKind, Message,
    testing::{
        Broken, Transport,
        check::{ensure, ensure_eq},
    },
    wire,
};

/// Fails every attempt of `bad-0` with `reaction`.
fn bad(reaction: Reaction) -> impl Fn(&str, usize) -> Reaction + Clone {
    move |id, _| if id == "bad-0" { reaction } else { Reaction::Done }
}

/// Checks the dead letter of `bad-0`, which failed 3 times with `kind`, and that its key went on.
async fn check_dead_letter<T: Transport + Clone>(
    bench: &mut Bench<T>,
    kind: ErrorKind,
) -> Result<(), Broken> {
    let letters = bench.until_dead_letters(1).await?;
    bench.until_done(&["bad-1".to_owned(), "bad-2".to_owned()]).await?;
    bench.stop().await?;
    let text = |letter: &Message, name| letter.headers().text(name).map(str::to_owned);
    for letter in &letters {
        ensure_eq(letter.key(), Some(&b"bad"[..]), "a dead letter has the key of its message")?;
        ensure_eq(letter.payload(), Some(&b"bad-0"[..]), "a dead letter has the payload of its message")?;
        let reason = text(letter, wire::DLQ_ERROR_KIND);
        ensure_eq(reason.as_deref(), Some(kind.as_str()), "a dead letter has the kind of the error")?;
        let attempts = text(letter, wire::DLQ_ATTEMPTS);
        ensure_eq(attempts.as_deref(), Some("3"), "a dead letter has the number of attempts")?;
    }
    let calls = bench.log.calls();
    let attempts: Vec<_> =
        calls.all.iter().filter(|call| call.id == "bad-0").map(|call| call.attempt).collect();
    ensure_eq(attempts, vec![1, 2, 3], "the numbers of the attempts of a failing message")
}

/// Checks that a message that fails at each attempt becomes a dead letter with the reason, that its key continues, and
/// that the message does not come again.
///
/// # Errors
/// Returns [`Broken`] if the dead letter is missing or incomplete, or if the message comes again.
pub async fn dead_letter_has_the_reason<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, bad(Reaction::Fail(ErrorKind::Internal))).await?;
    bench.publish(ids("bad", 3)).await?;
    bench.start();
    check_dead_letter(&mut bench, ErrorKind::Internal).await?;
    bench.start();
    bench.publish(["bad-3".to_owned()]).await?;
    bench.until_done(&["bad-3".to_owned()]).await?;
    bench.stop().await?;
    ensure_eq(bench.log.calls().of("bad-0"), 3, "the calls of a message that is dead-lettered")
}

/// Checks that a message whose dead letter is refused is neither lost nor overtaken by its key.
///
/// # Errors
/// Returns [`Broken`] if the dead letter is not written after the refusals, or if a message of its key is handled before.
pub async fn refused_dead_letter_is_written_later<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, bad(Reaction::Fail(ErrorKind::Invalid))).await?;
    let (refused, log) = (AtomicUsize::new(0), bench.log.clone());
    bench.dead_letters.judge(move |_| {
        if log.calls().of("bad-1") > 0 {
            return Err(Error::fatal("the message behind has been handled before the dead letter"));
        }
        match refused.fetch_add(1, Ordering::SeqCst) {
            0..4 => Err(Error::not_executed("the check refuses the dead letter")),
            _ => Ok(()),
        }
    });
    bench.publish(ids("bad", 2)).await?;
    bench.start();
    bench.until_dead_letters(1).await?;
    bench.until_done(&["bad-1".to_owned()]).await?;
    bench.stop().await?;
    ensure_eq(bench.log.calls().of("bad-0"), 1, "the calls of a message that is invalid")
}

/// Checks that attempts that fail for a cause outside the message do not count, and that the message succeeds after
/// more of them than the attempts that are allowed.
///
/// # Errors
/// Returns [`Broken`] if an attempt is counted, or if the message is dead-lettered.
pub async fn hold_counts_no_attempt<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, |id, nth| match id == "bad-0" && nth < 8 {
        true => Reaction::Fail(ErrorKind::NotExecuted),
        false => Reaction::Done,
    })
    .await?;
    bench.publish(ids("bad", 2)).await?;
    bench.start();
    bench.until_done(&ids("bad", 2)).await?;
    bench.stop().await?;
    let calls = bench.log.calls();
    ensure(
        calls.all.iter().all(|call| call.attempt == 1),
        "a hold counts no attempt",
        format!("{:?}", calls.all),
    )?;
    ensure_eq(bench.dead_letters.messages().len(), 0, "the dead letters of a held message")?;
    ensure(bench.setup.holds.is_empty(), "a hold that has ended is not listed", "a hold")
}

/// Checks that a panic of the handler is a failed attempt, and harms no other message.
///
/// # Errors
/// Returns [`Broken`] if the panic ends the consumer, or if the dead letter is missing or incomplete.
pub async fn panic_is_one_failed_attempt<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, bad(Reaction::Panic)).await?;
    bench.publish(ids("bad", 3)).await?;
    bench.start();
    check_dead_letter(&mut bench, ErrorKind::Internal).await
}
