//! The tracker that is measured.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Time for a tracker to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How they are divided: looked up once, since afterwards we see only our own.
static PROCESSORS: OnceLock<Processors> = OnceLock::new();

/// The tracker has the first processor, and we have the others: so that figures are those of one.
struct Processors {
    tracker: CpuSet,
    ours: CpuSet,
}

impl Processors {
    fn get() -> Result<&'static Self> {
        match PROCESSORS.get() {
            Some(processors) => Ok(processors),
            None => Self::divide().map(|processors| PROCESSORS.get_or_init(|| processors)),
        }
    }

    fn divide() -> Result<Self> {
        let all = sched_getaffinity(Pid::from_raw(0))?;
        let mut free = (0..CpuSet::count()).filter(|index| all.is_set(*index).unwrap_or(false));
        let (mut tracker, mut ours) = (CpuSet::new(), CpuSet::new());
        tracker.set(free.next().context("there is no processor")?)?;
        for index in free {
            ours.set(index)?;
        }
        if ours == CpuSet::new() {
            bail!("the tracker and its load need a processor each; this machine has one");
        }
        Ok(Self { tracker, ours })
    }

    /// Starts a program on the tracker's processor.
    fn start(&self, command: &mut Command) -> Result<Child> {
        // A child has the processors that its parent has.
        sched_setaffinity(Pid::from_raw(0), &self.tracker)?;
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()));
        sched_setaffinity(Pid::from_raw(0), &self.ours)?;
        child
    }
}

/// A tracker of our own, which ends with this.
pub(crate) struct Ours {
    child: Child,
    port: u16,
    directory: PathBuf,
    processors: &'static Processors,
}

impl Ours {
    /// Starts it on a processor of its own, and waits until it listens.
    pub(crate) fn start(binary: &Path) -> Result<Self> {
        Self::start_with(binary, &["--stun=off"])
    }

    /// The same, with more arguments, which say what it does about STUN.
    pub(crate) fn start_with(binary: &Path, more: &[&str]) -> Result<Self> {
        let processors = Processors::get()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let directory = std::env::temp_dir().join(format!("cardume-load-{}", std::process::id()));
        let mut command = Command::new(binary);
        command
            .args(["serve", "--rtmp=127.0.0.1:0", "--webtorrent", "--connection-limit=100000"])
            .arg("--viewer-limit=100000")
            .args(more)
            .arg(format!("--http=127.0.0.1:{port}"))
            .arg("--data-dir")
            .arg(&directory)
            .stdout(Stdio::null());
        let child = processors.start(&mut command)?;
        let ours = Self { child, port, directory, processors };
        until_listening((Ipv4Addr::LOCALHOST, port).into())?;
        Ok(ours)
    }

    /// Starts another program on its processor.
    pub(crate) fn beside(&self, command: &mut Command) -> Result<Child> {
        self.processors.start(command)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path of its WebSockets.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }
}

/// Waits until somebody listens there: a tracker opens its ports one after another.
pub(crate) fn until_listening(address: SocketAddr) -> Result<()> {
    let started_at = Instant::now();
    while TcpStream::connect(address).is_err() {
        if started_at.elapsed() > START_LIMIT {
            bail!("the tracker does not listen at {address}");
        }
        std::thread::yield_now();
    }
    Ok(())
}

impl Drop for Ours {
    fn drop(&mut self) {
        // It may have ended by itself; what it leaves behind is in the system's folder for such things.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
