//! What both WebSockets do at their end.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use tokio::time::timeout;

/// Time for the last messages to leave, and then again for the viewer to close its side. (Wild guess: a few round
/// trips.)
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Closes the socket (RFC 6455, section 7), after a last message if there is one.
///
/// Waits a moment for the other side to close as well: closing under bytes that are still unread would make the
/// system throw away what the viewer has not read yet, the reason first of all.
pub(crate) async fn close(mut socket: WebSocket, last: Option<Message>, code: u16, reason: &'static str) {
    let farewell = async {
        if let Some(message) = last {
            socket.send(message).await?;
        }
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        socket.send(Message::Close(Some(frame))).await
    };
    if let Ok(Ok(())) = timeout(FAREWELL_TIMEOUT, farewell).await {
        let drain = async { while let Some(Ok(_)) = socket.recv().await {} };
        // A viewer that does not close is closed.
        let _ = timeout(FAREWELL_TIMEOUT, drain).await;
    }
}
