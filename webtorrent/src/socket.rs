//! One WebSocket, from its upgrade to its end.
//!
//! A hand-written future: while it waits it holds nothing but a few words. What is read goes through one buffer for each thread.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::cell::RefCell;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::conversation::{Conversation, Scratch};
use crate::frame::{self, Decoder, Fault, Incoming};
use crate::outbox::Outbox;
use crate::swarms::Swarms;

/// Between two looks whether the other side still lives, reads and behaves.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Who said nothing for so many looks is asked whether it lives.
const PING_AFTER: u32 = 3;
/// Who said nothing for so many looks is gone: twice what it may take a client to announce itself again.
const GONE_AFTER: u32 = 8;
/// Messages between two looks: more than a thousand a second are no client's.
const MESSAGE_LIMIT: u32 = 15_000;
/// Time for the other side to take the last words.
const FAREWELL: Duration = Duration::from_secs(2);
/// Read at once. (Measured: more is not faster.)
const READ_LEN: usize = 64 * 1024;
/// While so much of what it was told is unsent, a client is not heard.
const UNSENT_LIMIT: usize = 64 * 1024;
/// "Going away" and "policy violation" (RFC 6455, section 7.4.1).
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const NORMAL: u16 = 1000;

/// Why a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// The other side closed it, or broke off.
    #[error("the client left")]
    Left,
    /// It said nothing, also when asked.
    #[error("the client gave no sign of life")]
    Silent,
    /// It does not read what it is sent.
    #[error("the client does not read")]
    NotRead,
    /// It says too much.
    #[error("the client sends too many messages")]
    TooMany,
    /// What came is no WebSocket message of ours.
    #[error("what the client sends is no message: {0}")]
    Faulty(#[from] Fault),
    /// We go down.
    #[error("the tracker goes down")]
    Stopped,
}

/// What one thread shares among its sockets.
struct Workplace {
    buffer: Vec<u8>,
    scratch: Scratch,
}

thread_local! {
    static WORKPLACE: RefCell<Workplace> =
        RefCell::new(Workplace { buffer: vec![0; READ_LEN], scratch: Scratch::default() });
}

/// Speaks with one client until it leaves or `stop` resolves. `early` is what came behind its request to upgrade.
///
/// Needs tokio's timer. Cancel safe: dropping it takes the client's peers out of their swarms. No `async fn`, whose future has its
/// arguments twice, and a `stop` that is pinned elsewhere: each idle client has one of these.
pub fn serve<'a, S, F>(
    stream: S,
    early: &[u8],
    swarms: Swarms,
    mut stop: Pin<&'a mut F>,
) -> impl Future<Output = Ending> + use<'a, S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    let mut socket = Socket::new(stream, swarms);
    socket.hear(early);
    async move {
        let mut timer = core::pin::pin!(sleep(LOOK_INTERVAL));
        poll_fn(|context| {
            if socket.ending.is_none() && stop.as_mut().poll(context).is_ready() {
                socket.end(Ending::Stopped);
            }
            socket.poll(timer.as_mut(), context)
        })
        .await
    }
}

struct Socket<S> {
    stream: S,
    decoder: Decoder,
    conversation: Conversation,
    outbox: Arc<Outbox>,
    unsent: Unsent,
    /// Looks since the other side said something.
    n_silent: u32,
    /// Looks since something could be sent that waits.
    n_stuck: u32,
    /// Messages since the last look.
    n_messages: u32,
    /// Set once the last words are said.
    ending: Option<Ending>,
    /// Whether the timer is set for their end.
    is_parting: bool,
}

/// Frames on their way into the stream.
#[derive(Debug, Default)]
struct Unsent {
    frames: Vec<u8>,
    sent_len: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    fn new(stream: S, swarms: Swarms) -> Self {
        let outbox = Arc::new(Outbox::default());
        Self {
            stream,
            decoder: Decoder::default(),
            conversation: Conversation::new(swarms, Arc::clone(&outbox)),
            outbox,
            unsent: Unsent::default(),
            n_silent: 0,
            n_stuck: 0,
            n_messages: 0,
            ending: None,
            is_parting: false,
        }
    }

    fn poll(&mut self, mut timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Ending> {
        loop {
            if self.ending.is_some() && !self.is_parting {
                self.is_parting = true;
                timer.as_mut().reset(Instant::now() + FAREWELL);
            }
            self.outbox.register(context.waker());
            let is_sent = match self.poll_send(context) {
                Poll::Ready(Err(_)) => return Poll::Ready(self.ending.unwrap_or(Ending::Left)),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            while timer.as_mut().poll(context).is_ready() {
                if let Some(ending) = self.look() {
                    return Poll::Ready(ending);
                }
                timer.as_mut().reset(Instant::now() + LOOK_INTERVAL);
            }
            if !is_sent && self.unsent.len() > UNSENT_LIMIT {
                return Poll::Pending;
            }
            if let Err(ending) = ready!(self.poll_hear(context)) {
                return Poll::Ready(self.ending.unwrap_or(ending));
            }
        }
    }

    /// Sends what waits; ready when nothing does.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if self.unsent.is_empty() {
                self.unsent = Unsent { frames: self.outbox.take(), sent_len: 0 };
            }
            if self.unsent.is_empty() {
                return self.poll_finish(context);
            }
            let n = ready!(Pin::new(&mut self.stream).poll_write(context, self.unsent.rest()))?;
            if n == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.unsent.sent_len += n;
            self.n_stuck = 0;
        }
    }

    /// After the last words, says that nothing follows.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.ending.is_some() {
            Pin::new(&mut self.stream).poll_shutdown(context)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Reads what there is, once. An error is the end.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        WORKPLACE.with_borrow_mut(|workplace| {
            let mut read = ReadBuf::new(&mut workplace.buffer);
            if ready!(Pin::new(&mut self.stream).poll_read(context, &mut read)).is_err() {
                return Poll::Ready(Err(Ending::Left));
            }
            let len = read.filled().len();
            if len == 0 {
                return Poll::Ready(Err(Ending::Left));
            }
            self.take(len, workplace);
            Poll::Ready(Ok(()))
        })
    }

    /// What came with the upgrade.
    fn hear(&mut self, early: &[u8]) {
        WORKPLACE.with_borrow_mut(|workplace| {
            for piece in early.chunks(READ_LEN) {
                workplace.buffer[..piece.len()].copy_from_slice(piece);
                self.take(piece.len(), workplace);
            }
        });
    }

    /// Takes the first bytes of the buffer.
    fn take(&mut self, len: usize, workplace: &mut Workplace) {
        // What comes after the last words is read and dropped: unread, it would make the system break the connection
        // before the other side has read them.
        if self.ending.is_some() {
            return;
        }
        self.n_silent = 0;
        let Self { decoder, conversation, outbox, n_messages, .. } = self;
        let mut is_closed = false;
        let taken = decoder.take(&mut workplace.buffer[..len], &mut |incoming| match incoming {
            Incoming::Message(text) if !is_closed => {
                *n_messages += 1;
                conversation.hear(text, &mut workplace.scratch);
            }
            Incoming::Ping(content) => {
                *n_messages += 1;
                outbox.put(|frames| frame::write_pong(frames, content));
            }
            Incoming::Close => is_closed = true,
            Incoming::Message(_) | Incoming::Pong => {}
        });
        match taken {
            Err(fault) => self.end(Ending::from(fault)),
            Ok(()) if is_closed => self.end(Ending::Left),
            Ok(()) => {}
        }
    }

    /// Says the last words.
    fn end(&mut self, ending: Ending) {
        let code = match ending {
            Ending::Left => NORMAL,
            Ending::Stopped => GOING_AWAY,
            Ending::Faulty(fault) => fault.code(),
            Ending::Silent | Ending::NotRead | Ending::TooMany => POLICY,
        };
        self.outbox.put(|frames| frame::write_close(frames, code, &ending.to_string()));
        self.ending = Some(ending);
    }

    /// Once in a while: an ending when it has to be now.
    fn look(&mut self) -> Option<Ending> {
        if self.ending.is_some() {
            return self.ending;
        }
        self.n_silent += 1;
        self.n_stuck += u32::from(!self.unsent.is_empty());
        let n_messages = core::mem::take(&mut self.n_messages);
        if self.n_silent > GONE_AFTER {
            return Some(Ending::Silent);
        }
        // Stuck at one look may be chance.
        if self.n_stuck > 2 {
            return Some(Ending::NotRead);
        }
        if n_messages > MESSAGE_LIMIT {
            self.end(Ending::TooMany);
        } else if self.n_silent >= PING_AFTER {
            self.outbox.put(frame::write_ping);
        }
        None
    }
}

impl Unsent {
    fn rest(&self) -> &[u8] {
        &self.frames[self.sent_len..]
    }

    fn len(&self) -> usize {
        self.frames.len() - self.sent_len
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
