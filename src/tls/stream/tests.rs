//! With a client of rustls' usual API over pipes of every width.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use super::TlsStream;

type Client = tokio_rustls::client::TlsStream<DuplexStream>;

fn configs(versions: &[&'static rustls::SupportedProtocolVersion]) -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["api.test".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a certificate");
    server.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, client)
}

/// Both ends of a connection through a pipe that holds so many bytes.
async fn connected(
    versions: &[&'static rustls::SupportedProtocolVersion],
    width: usize,
) -> (TlsStream<DuplexStream>, Client) {
    let (server, client) = configs(versions);
    let (ours, theirs) = duplex(width);
    let name = ServerName::try_from("api.test").expect("a name");
    let connector = TlsConnector::from(Arc::new(client));
    let accepted = Notify::new();
    let accepting = async {
        let server = TlsStream::accept(Arc::new(server), ours).await;
        accepted.notify_one();
        server.expect("a handshake")
    };
    let asking = async {
        let mut client = connector.connect(name, theirs).await.expect("a handshake");
        // Whoever reads takes the session ticket; there is nothing else yet.
        tokio::select! {
            () = accepted.notified() => {}
            _ = client.read_u8() => unreachable!("nothing was sent"),
        }
        client
    };
    tokio::join!(accepting, asking)
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| u8::try_from(at % 251).expect("small"))
        .collect()
}

#[tokio::test]
async fn every_byte_comes_through_pipes_of_every_width() {
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        for (width, bytes) in [
            // Narrower than what a client says while it is answered, both would wait for each other.
            (7, 5_000),
            (100, 40_000),
            (5_000, 300_000),
            (20_000, 300_000),
            (1 << 20, 300_000),
        ] {
            let (mut server, mut client) = connected(versions, width).await;
            let sent = text(bytes);
            let serving = async {
                let mut seen = vec![0; bytes];
                server.read_exact(&mut seen).await.expect("bytes");
                server.write_all(&seen).await.expect("room");
                server.shutdown().await.expect("an end");
                assert_eq!(server.read(&mut [0; 8]).await.expect("an end"), 0);
                seen
            };
            let asking = async {
                client.write_all(&sent).await.expect("room");
                client.flush().await.expect("room");
                let mut back = Vec::new();
                client.read_to_end(&mut back).await.expect("a clean end");
                client.shutdown().await.expect("an end");
                back
            };
            let (seen, back) = tokio::join!(serving, asking);
            assert!(seen == sent && back == sent, "{width}");
        }
    }
}

#[tokio::test]
async fn keys_are_renewed_in_the_middle() {
    let (mut server, mut client) = connected(&[&rustls::version::TLS13], 1 << 20).await;
    for round in 0..5 {
        let asked = client.get_mut().1.refresh_traffic_keys();
        asked.expect("a connection of TLS 1.3");
        client.write_all(b"ping").await.expect("room");
        client.flush().await.expect("room");
        let mut seen = [0; 4];
        server.read_exact(&mut seen).await.expect("bytes");
        assert_eq!(&seen, b"ping", "{round}");
        server.write_all(b"pong").await.expect("room");
        client.read_exact(&mut seen).await.expect("bytes");
        assert_eq!(&seen, b"pong", "{round}");
    }
}

#[tokio::test]
async fn parts_are_written_in_their_order() {
    let (mut server, mut client) = connected(&[&rustls::version::TLS13], 1 << 20).await;
    for sizes in [
        vec![3, 0, 5],
        vec![9, 16_384],
        vec![40_000, 1, 40_000],
        vec![1; 100],
    ] {
        let parts: Vec<Vec<u8>> = sizes.iter().map(|size| text(*size)).collect();
        let whole = parts.concat();
        let mut rest: Vec<_> = parts
            .iter()
            .map(|part| std::io::IoSlice::new(part))
            .collect();
        let mut rest = rest.as_mut_slice();
        while rest.iter().any(|part| !part.is_empty()) {
            let count = server.write_vectored(rest).await.expect("room");
            assert!(count > 0);
            std::io::IoSlice::advance_slices(&mut rest, count);
        }
        server.flush().await.expect("room");
        let mut seen = vec![0; whole.len()];
        client.read_exact(&mut seen).await.expect("bytes");
        assert!(seen == whole, "{sizes:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_told_so_and_ends() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n"[..],
        &[0x16; 100],
    ] {
        let (server, _) = configs(&[&rustls::version::TLS13]);
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(bytes).await.expect("room");
        let outcome = TlsStream::accept(Arc::new(server), ours).await;
        assert!(outcome.is_err());
        drop(outcome);
        let mut answer = Vec::new();
        theirs.read_to_end(&mut answer).await.expect("an end");
        // A fatal alert (RFC 8446 section 6).
        assert_eq!(answer.first(), Some(&0x15), "{answer:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_its_handshake() {
    let (server, _) = configs(&[&rustls::version::TLS13]);
    let (ours, theirs) = duplex(1 << 16);
    drop(theirs);
    let outcome = TlsStream::accept(Arc::new(server), ours).await;
    let kind = outcome.map(drop).map_err(|error| error.kind());
    assert_eq!(kind, Err(std::io::ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn a_record_that_was_changed_ends_the_connection() {
    let (server, client) = configs(&[&rustls::version::TLS13]);
    let (ours, mut between) = duplex(1 << 16);
    let (mut other, theirs) = duplex(1 << 16);
    let name = ServerName::try_from("api.test").expect("a name");
    let connector = TlsConnector::from(Arc::new(client));
    let carrying = tokio::io::copy_bidirectional(&mut between, &mut other);
    let shaking = async {
        tokio::join!(
            TlsStream::accept(Arc::new(server), ours),
            connector.connect(name, theirs)
        )
    };
    let (server, client) = tokio::select! {
        pair = shaking => pair,
        _ = carrying => unreachable!("neither side has ended"),
    };
    let (mut server, mut client) = (server.expect("a handshake"), client.expect("a handshake"));
    client.write_all(b"good").await.expect("room");
    client.flush().await.expect("room");
    let mut record = vec![0; 1024];
    let count = other.read(&mut record).await.expect("a record");
    record.truncate(count);
    if let Some(byte) = record.last_mut() {
        *byte ^= 1;
    }
    between.write_all(&record).await.expect("room");
    let error = server.read(&mut [0; 8]).await.expect_err("it was changed");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    // And nothing is read after that.
    assert_eq!(server.read(&mut [0; 8]).await.expect("an end"), 0);
}
