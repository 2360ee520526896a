//! A WebSocket echo server for `scripts/autobahn`. Prints its address.

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A client of the suite breaks connections on purpose.
        tokio::spawn(comms_ws::testing::echo(stream));
    }
}
