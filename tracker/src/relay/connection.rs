//! Clients that come by TCP, as where UDP is blocked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::frame::{PREFIX_LEN, frame_len};
use super::sockets::{Back, Shared};
use super::{Client, Transport};
use crate::http::Addresses;

/// Frames that may wait for a slow connection: 130 KB at most, half a second of 2 Mbit/s.
const QUEUE_LIMIT: usize = 64;
/// A client that says nothing for as long must have an allocation, or it is shown out.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// For a frame that has begun, and for one to be taken.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause when no connection can be taken, as when the process has too many files open.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the tracker goes down: `limit` at once, each network address as many as `addresses` gives it.
pub(super) async fn serve_connections(
    shared: Arc<Shared>,
    listener: TcpListener,
    limit: usize,
    addresses: Addresses,
) {
    let places = Arc::new(Semaphore::new(limit));
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(FAILURE_PAUSE).await;
            continue;
        };
        // Who finds no place is shown out: dropping the stream closes it.
        let slots = (Arc::clone(&places).try_acquire_owned(), addresses.take(address.ip()));
        if let (Ok(place), Some(slot)) = slots {
            let shared = Arc::clone(&shared);
            shared.tasks.clone().spawn(async move {
                let _held = (place, slot);
                converse(&shared, stream, address).await;
            });
        }
    }
}

async fn converse(shared: &Arc<Shared>, stream: TcpStream, address: SocketAddr) {
    let client = Client::new(Transport::Tcp, address);
    // Without it small frames wait for each other; a connection that cannot be told so is still one.
    let _ = stream.set_nodelay(true);
    let (reading, writing) = stream.into_split();
    let (frames, outgoing) = mpsc::channel(QUEUE_LIMIT);
    let back = Back::Connection(frames);
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = listen(shared, client, reading, &back) => {}
        _ = write(writing, outgoing) => {}
    }
    shared.lock().forget(client);
}

/// Takes frames until the connection ends, or nothing sensible comes.
async fn listen(shared: &Arc<Shared>, client: Client, reading: OwnedReadHalf, back: &Back) {
    let mut reading = BufReader::new(reading);
    let mut frame = Vec::new();
    loop {
        match timeout(IDLE_LIMIT, reading.fill_buf()).await {
            Ok(Ok([]) | Err(_)) => return,
            Ok(Ok(_)) => {}
            Err(_) if shared.lock().serves(client) => continue,
            Err(_) => return,
        }
        match timeout(FRAME_TIMEOUT, read_frame(&mut reading, &mut frame)).await {
            Ok(Ok(())) => shared.take(client, &frame, back),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn read_frame(reading: &mut BufReader<OwnedReadHalf>, frame: &mut Vec<u8>) -> io::Result<()> {
    let mut prefix = [0; PREFIX_LEN];
    reading.read_exact(&mut prefix).await?;
    let len = frame_len(prefix).ok_or(io::ErrorKind::InvalidData)?;
    frame.clear();
    frame.extend_from_slice(&prefix);
    frame.resize(len, 0);
    reading.read_exact(frame.get_mut(PREFIX_LEN..).unwrap_or_default()).await?;
    Ok(())
}

async fn write(mut writing: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(frame) = outgoing.recv().await {
        timeout(FRAME_TIMEOUT, writing.write_all(&frame)).await??;
    }
    Ok(())
}
