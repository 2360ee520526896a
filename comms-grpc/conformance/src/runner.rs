//! The protocol between the runner and the programs: each message is preceded by its length in 4 bytes, big-endian.

use std::io::{Error, ErrorKind, Result};

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The maximum length of a message. A request of the suite has at most a few hundred KiB.
const MAX_LEN: u32 = 16 * 1024 * 1024;

/// Reads the next message. Returns `None` at the end of the input.
///
/// # Errors
/// Returns an error if the input ends within a message, or if a message is too long or cannot be decoded.
pub async fn read<M: Message + Default>(input: &mut (impl AsyncRead + Unpin)) -> Result<Option<M>> {
    let len = match input.read_u32().await {
        Ok(len) if len <= MAX_LEN => len,
        Ok(len) => return Err(Error::new(ErrorKind::InvalidData, format!("a message of {len} bytes"))),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = vec![0; len as usize];
    input.read_exact(&mut bytes).await?;
    M::decode(bytes.as_slice()).map(Some).map_err(|e| Error::new(ErrorKind::InvalidData, e))
}

/// Writes a message.
///
/// # Errors
/// Returns an error if the message is longer than 4 GiB, or if the output fails.
pub async fn write(output: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> Result<()> {
    let len = u32::try_from(message.encoded_len()).map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend(message.encode_to_vec());
    output.write_all(&bytes).await?;
    output.flush().await
}
