//! Running other programs, so that what is started here also ends here.
//!
//! Each program gets a process group of its own. A signal to xtask (Ctrl-C, SIGTERM) goes on to all of them, and whatever
//! a program leaves behind when it fails or is interrupted ends with it.

use std::{
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{place, tally::Tally};

/// One line of progress, on standard error.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { eprintln!("xtask: {}", format_args!($($words)*)) };
}

/// Process groups of the programs that run now.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// Set by the first signal; it stays set, since xtask then only winds up.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy)]
enum Force {
    Ask,
    Kill,
}

/// Passes Ctrl-C and SIGTERM on to the programs that run: the first politely, a second one for good.
pub(crate) fn end_children_on_signal() -> Result<()> {
    ctrlc::set_handler(|| {
        let force = if INTERRUPTED.swap(true, Ordering::SeqCst) { Force::Kill } else { Force::Ask };
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_empty() {
            std::process::exit(130);
        }
        running.iter().for_each(|group| signal(*group, force));
    })
    .context("cannot listen for signals")
}

/// Whether a signal has asked xtask to stop.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// A program to run, with its arguments; relative to the workspace's root unless [`Task::dir`] says otherwise.
pub(crate) struct Task {
    command: Command,
    limit: Option<Duration>,
}

impl Task {
    /// `program` is looked up on the PATH unless it is a path.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(place::root()).stdin(Stdio::null());
        own_group(&mut command);
        Self { command, limit: None }
    }

    /// The cargo that runs xtask.
    pub(crate) fn cargo(subcommand: &str) -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args([subcommand])
    }

    /// npm, quiet about anything but the task.
    pub(crate) fn npm(dir: &Path) -> Self {
        Self::new(place::NPM).dir(dir).env("npm_config_fund", "false").env("npm_config_audit", "false")
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(place::root().join(dir));
        self
    }

    /// Ends the program after `limit`, as a failure.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs it to its end, its output on standard error.
    pub(crate) fn run(mut self) -> Result<()> {
        self.command.stdout(Stdio::from(io::stderr()));
        self.start()?.wait()
    }

    /// Runs it to its end, its output on standard output.
    pub(crate) fn print(self) -> Result<()> {
        self.start()?.wait()
    }

    /// Runs it to its end and returns what it wrote to standard output; its errors are shown.
    pub(crate) fn read(mut self) -> Result<String> {
        self.command.stdout(Stdio::piped());
        let mut running = self.start()?;
        let mut text = String::new();
        if let Some(mut stdout) = running.child.stdout.take() {
            stdout.read_to_string(&mut text).with_context(|| format!("reading from {}", running.shown))?;
        }
        running.wait().map(|()| text)
    }

    /// Runs it to its end, and hands over each line of its standard output as it comes.
    pub(crate) fn watch(mut self, mut on_line: impl FnMut(&str)) -> Result<()> {
        self.command.stdout(Stdio::piped());
        let mut running = self.start()?;
        if let Some(stdout) = running.child.stdout.take() {
            BufReader::new(stdout).lines().map_while(io::Result::ok).for_each(|line| on_line(&line));
        }
        running.wait()
    }

    /// Whether it runs and says it went well. Silent.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        self.start().and_then(Running::wait).is_ok()
    }

    /// Runs it to its end, shows what it prints, and counts the tests it reports into `tally`, also when it fails.
    pub(crate) fn count(self, tally: &mut Tally) -> Result<()> {
        self.count_and_show(tally, io::stdout)
    }

    /// The same, showing nothing: the caller expects tests to fail.
    pub(crate) fn count_silently(self, tally: &mut Tally) -> Result<()> {
        self.count_and_show(tally, io::sink)
    }

    /// `screen` opens where the output is shown.
    fn count_and_show<W: Write>(mut self, tally: &mut Tally, screen: fn() -> W) -> Result<()> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.start()?;
        let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
        let counts = thread::scope(|scope| {
            let stdout = scope.spawn(|| stdout.map(|output| count(output, screen())).unwrap_or_default());
            let stderr = stderr.map(|output| count(output, screen())).unwrap_or_default();
            [stdout.join().unwrap_or_default(), stderr]
        });
        for count in counts {
            tally.add(count);
        }
        running.wait()
    }

    /// Starts it; the caller waits.
    pub(crate) fn start(mut self) -> Result<Running> {
        let shown = shown(&self.command);
        if is_interrupted() {
            bail!("interrupted before {shown}");
        }
        // Held over the start, so that a signal finds the program either not yet there or in the list.
        let mut list = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let child = self.command.spawn().with_context(|| format!("cannot start {shown}"))?;
        list.push(child.id());
        let watchdog = self.limit.map(|limit| Watchdog::new(child.id(), limit));
        Ok(Running { child, shown, watchdog })
    }
}

/// A program that runs. Dropping it ends the program.
pub(crate) struct Running {
    child: Child,
    shown: String,
    watchdog: Option<Watchdog>,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it fails, takes longer than its limit, or xtask is interrupted.
    pub(crate) fn wait(mut self) -> Result<()> {
        let group = self.child.id();
        let status = self.child.wait()?;
        let late = self.watchdog.take().and_then(Watchdog::call_off);
        match (late, is_interrupted()) {
            (None, false) if status.success() => return Ok(()),
            _ => signal(group, Force::Ask),
        }
        match (late, is_interrupted()) {
            (Some(limit), _) => bail!("{} took longer than {limit:?}", self.shown),
            (None, true) => bail!("interrupted: {}", self.shown),
            (None, false) => bail!("failed ({status}): {}", self.shown),
        }
    }

    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = self.child.id();
        if self.is_running() {
            signal(group, Force::Kill);
            // The error would be that it has ended already, which is what is wanted.
            let _ = self.child.wait();
        }
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != group);
    }
}

/// Kills a process group once its time is over.
struct Watchdog {
    limit: Duration,
    ended: mpsc::SyncSender<()>,
    thread: thread::JoinHandle<bool>,
}

impl Watchdog {
    fn new(group: u32, limit: Duration) -> Self {
        let (ended, watch) = mpsc::sync_channel::<()>(1);
        let thread = thread::spawn(move || {
            let is_late = watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                signal(group, Force::Kill);
            }
            is_late
        });
        Self { limit, ended, thread }
    }

    /// Ends the watch; the limit, if it had to be enforced.
    fn call_off(self) -> Option<Duration> {
        drop(self.ended);
        self.thread.join().unwrap_or(false).then_some(self.limit)
    }
}

/// Counts the tests that `output` reports, and shows it.
fn count(output: impl Read, mut screen: impl Write) -> Tally {
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n').map_while(io::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        // A closed screen is no reason to stop counting.
        let _ = writeln!(screen, "{line}");
        tally.read(&line);
    }
    tally
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

#[cfg(unix)]
fn signal(group: u32, force: Force) {
    use nix::{
        sys::signal::{Signal, killpg},
        unistd::Pid,
    };
    let signal = match force {
        Force::Ask => Signal::SIGTERM,
        Force::Kill => Signal::SIGKILL,
    };
    if let Ok(group) = i32::try_from(group) {
        // The only error that happens is that the group has ended.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

/// Windows: Ctrl-C reaches all programs of the console by itself.
#[cfg(not(unix))]
fn signal(_: u32, _: Force) {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_fails_names_itself_and_its_status() {
        let error = Task::new("sh").args(["-c", "exit 3"]).run().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("sh -c exit 3"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error() {
        let error = Task::new("cardume-does-not-exist").run().unwrap_err().to_string();
        assert!(error.contains("cannot start cardume-does-not-exist"), "{error}");
    }

    #[test]
    fn what_a_task_prints_is_read() {
        assert_eq!(Task::new("echo").args(["fish"]).read().unwrap(), "fish\n");
    }

    #[test]
    fn lines_are_handed_over() {
        let mut lines = Vec::new();
        Task::new("sh").args(["-c", "echo a; echo b"]).watch(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn a_task_over_its_limit_is_ended_with_its_children() {
        let task = Task::new("sh").args(["-c", "sleep 1000 & wait"]).limit(Duration::from_millis(50));
        let error = task.read().map(drop).unwrap_err().to_string();
        assert!(error.contains("took longer than 50ms"), "{error}");
    }

    #[test]
    fn tests_are_counted_on_both_outputs_also_of_a_task_that_fails() {
        let script =
            "echo 'test result: ok. 2 passed; 1 failed; 0 ignored'; echo '  3 passed (1.0s)' >&2; exit 1";
        let mut tally = Tally::default();
        assert!(Task::new("sh").args(["-c", script]).count_and_show(&mut tally, io::sink).is_err());
        assert_eq!((tally.passed, tally.failed), (5, 1));
    }
}
