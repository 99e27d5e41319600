//! A TCP double that stands in front of a real server and misbehaves when it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::own_server;

/// What it does with a connection.
#[derive(Clone, Debug)]
pub enum Does {
    /// Passes everything on.
    Forward(SocketAddr),
    /// Takes the connection and says nothing.
    Hang,
    /// Breaks the connection off once there is a request.
    Reset,
    /// Answers these bytes and closes.
    Answers(String),
    /// Passes on, and gives the answer one byte at a time with pauses.
    Drips(SocketAddr),
    /// Answers with a body that never ends.
    Endless,
    /// A proxy: says yes to CONNECT and passes everything on.
    Tunnel(SocketAddr),
}

/// The double.
pub struct TcpDouble {
    pub address: SocketAddr,
    does: Arc<Mutex<Does>>,
    _runtime: tokio::runtime::Runtime,
}

impl TcpDouble {
    pub fn start(does: Does) -> Self {
        let (runtime, listener) = own_server();
        let address = listener.local_addr().expect("an address");
        let does = Arc::new(Mutex::new(does));
        let shared = Arc::clone(&does);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let does = shared.lock().expect("the state").clone();
                tokio::spawn(act(stream, does));
            }
        });
        Self {
            address,
            does,
            _runtime: runtime,
        }
    }

    /// From the next connection on.
    pub fn then(&self, does: Does) {
        *self.does.lock().expect("the state") = does;
    }
}

async fn act(mut client: TcpStream, does: Does) {
    match does {
        Does::Forward(to) => {
            if let Ok(mut server) = TcpStream::connect(to).await {
                // One exchange a connection, so that what is told next holds for the next one.
                let _ = one_exchange(&mut client, &mut server, None).await;
            }
        }
        Does::Drips(to) => {
            if let Ok(mut server) = TcpStream::connect(to).await {
                let pause = std::time::Duration::from_millis(100);
                let _ = one_exchange(&mut client, &mut server, Some(pause)).await;
            }
        }
        Does::Hang => {
            let mut byte = [0; 1024];
            while client.read(&mut byte).await.is_ok_and(|count| count > 0) {}
        }
        Does::Reset => {
            let _ = read_head(&mut client).await;
            let _ = socket2::SockRef::from(&client).set_linger(Some(Default::default()));
        }
        Does::Answers(bytes) => {
            let _ = read_head(&mut client).await;
            let _ = client.write_all(bytes.as_bytes()).await;
            let _ = client.shutdown().await;
        }
        Does::Tunnel(to) => {
            let head = read_head(&mut client).await.unwrap_or_default();
            assert!(head.starts_with(b"CONNECT login.test:443 HTTP/1.1\r\n"));
            let mut server = TcpStream::connect(to).await.expect("a server");
            let _ = client.write_all(b"HTTP/1.1 200 yes\r\n\r\n").await;
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
        Does::Endless => {
            let _ = read_head(&mut client).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"keys\":[";
            let mut sent = client.write_all(head).await;
            while sent.is_ok() {
                sent = client.write_all(&[b' '; 4096]).await;
            }
        }
    }
}

async fn read_head(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

async fn one_exchange(
    client: &mut TcpStream,
    server: &mut TcpStream,
    pause: Option<std::time::Duration>,
) -> std::io::Result<()> {
    let head = String::from_utf8_lossy(&read_head(client).await?).into_owned();
    server
        .write_all(
            head.replacen("\r\n", "\r\nConnection: close\r\n", 1)
                .as_bytes(),
        )
        .await?;
    let Some(pause) = pause else {
        tokio::io::copy(server, client).await?;
        return client.shutdown().await;
    };
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    for byte in answer {
        client.write_all(&[byte]).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
