//! The JSON frames of the protocol that `docs/reference/websocket.md` documents.

mod client;
mod server;

pub(crate) use client::ClientFrame;
pub(crate) use server::{End, JoinedTopic, ServerFrame};
