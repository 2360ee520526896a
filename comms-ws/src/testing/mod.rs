//! For the tests of this crate. Not part of the stable interface.
//!
//! - `echo.rs`: an echo on the frames of the server.
//! - `parsers.rs`: the parsers of input from clients, for the fuzz targets.

mod echo;
mod parsers;

pub use echo::{MAX_MESSAGE, echo};
pub use parsers::{
    Decoded, Place, client_frame, compress, cursor_token, decode, handshake, inflate, read_cursor,
};
