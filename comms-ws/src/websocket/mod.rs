//! The server's side of the WebSocket protocol (RFC 6455) and of its compression (RFC 7692), without input and output.
//!
//! | file | contents |
//! |---|---|
//! | `handshake`, `extensions` | the check of an upgrade request, its response, the negotiation of compression |
//! | `decoder`, `frame_header`, `utf8` | the frames and messages of the client, from bytes in pieces of any size |
//! | `encoder` | the frames of the server |
//! | `deflate` | compression and decompression of one message |

pub(crate) mod decoder;
pub(crate) mod deflate;
pub(crate) mod encoder;
pub(crate) mod extensions;
pub(crate) mod frame_header;
pub(crate) mod handshake;
#[cfg(test)]
mod tests;
mod utf8;
pub(crate) mod violation;
