//! One-time tickets, for clients that cannot send a token: the `EventSource` of browsers sets no header.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use comms_core::Error;

use super::Hub;
use crate::cursor::CursorKey;

/// The lifetime of a ticket.
const LIFETIME: Duration = Duration::from_secs(30);

impl Hub {
    /// Returns a ticket that opens one session within 30 seconds, on any node with the same keys.
    ///
    /// `subject` is what [`redeem_ticket`](Self::redeem_ticket) returns, such as the name of the user and the end of the
    /// token. It is signed and not encrypted. The ticket stands in the address of the event stream, where logs may keep it:
    /// it is of no use after the first request.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Fatal`](comms_core::ErrorKind::Fatal) if the system has no random source.
    pub fn issue_ticket(&self, subject: &str) -> Result<String, Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(Error::fatal)?;
        let nonce = BASE64_URL_SAFE_NO_PAD.encode(nonce);
        let end = (self.0.env.clock.unix() + LIFETIME).as_secs();
        let content = format!("{}.{end}.{nonce}", BASE64_URL_SAFE_NO_PAD.encode(subject));
        let mac = self.0.env.cursor_keys.first().map(|key| key.sign(&signed(&content))).unwrap_or_default();
        Ok(format!("{content}.{mac}"))
    }

    /// Returns the subject of a ticket, or `None` if the ticket is forged, has expired, or was redeemed before.
    ///
    /// # Errors
    /// Returns the error of the backplane, which remembers redeemed tickets.
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Option<String>, Error> {
        let Some((subject, nonce)) = self.read_ticket(ticket) else { return Ok(None) };
        let is_first = self.0.fanout.backplane.claim(nonce, LIFETIME * 2).await?;
        Ok(is_first.then_some(subject))
    }

    fn read_ticket<'a>(&self, ticket: &'a str) -> Option<(String, &'a str)> {
        let (content, mac) = ticket.rsplit_once('.')?;
        let verifies = |key: &CursorKey| key.verifies(&signed(content), mac);
        if !self.0.env.cursor_keys.iter().any(verifies) {
            return None;
        }
        let mut parts = content.splitn(3, '.');
        let (subject, end, nonce) = (parts.next()?, parts.next()?, parts.next()?);
        let is_valid = end.parse::<u64>().is_ok_and(|end| self.0.env.clock.unix().as_secs() < end);
        let subject = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(subject).ok()?).ok()?;
        is_valid.then_some((subject, nonce))
    }
}

/// Returns the text that is signed. No token of a cursor begins so: a vertical bar is percent-encoded there.
fn signed(content: &str) -> Vec<u8> {
    format!("ticket|{content}").into_bytes()
}
