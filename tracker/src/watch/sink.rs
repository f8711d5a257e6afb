//! Where the stream is written: a file or standard output, by a thread of its own, since neither can be waited for otherwise.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::thread;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// The name of standard output.
pub(super) const STDOUT: &str = "-";

/// Takes bytes as fast as they are read.
pub(super) struct Sink {
    /// `None` once it is finished.
    bytes: Option<mpsc::Sender<Bytes>>,
    /// How it ended.
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Whether somebody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// As far as is known.
    Read,
    /// Not any more: the pipe is closed.
    Unread,
}

impl Sink {
    /// Opens it.
    ///
    /// # Errors
    /// When there can be no such file.
    pub(super) fn open(output: &Path) -> anyhow::Result<Self> {
        let writer: Box<dyn Write + Send> = if output == Path::new(STDOUT) {
            Box::new(io::stdout())
        } else {
            let file = File::create(output);
            Box::new(file.with_context(|| format!("cannot write {}", output.display()))?)
        };
        let (bytes, taken) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let named = thread::Builder::new().name("stream".to_owned());
        named.spawn(move || {
            // Who has gone on does not want to know.
            let _ = end.send(write_all(writer, taken));
        })?;
        Ok(Self { bytes: Some(bytes), ended })
    }

    /// Writes once what came before is taken.
    ///
    /// # Errors
    /// When it cannot be written for another reason than that nobody reads.
    pub(super) async fn write(&mut self, bytes: Bytes) -> anyhow::Result<Written> {
        if let Some(sender) = &self.bytes
            && sender.send(bytes).await.is_ok()
        {
            return Ok(Written::Read);
        }
        self.finish().await.map(|()| Written::Unread)
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// When it cannot be written for another reason than that nobody reads.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        self.bytes = None;
        match (&mut self.ended).await {
            Ok(Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
                Err(error).context("cannot write the stream")
            }
            _ => Ok(()),
        }
    }
}

fn write_all(mut writer: impl Write, mut bytes: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(bytes) = bytes.blocking_recv() {
        writer.write_all(&bytes)?;
        writer.flush()?;
    }
    Ok(())
}
