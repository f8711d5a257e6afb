//! `cardume watch`: viewers without a browser. A part of the binary alone, beside the tracker.

mod printer;
mod recorder;
mod sink;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cardume::logs::{LogFormat, Logs};
use cardume_media::TrackKind;
use cardume_peer_native::{Address, Options, Snapshot, State, Viewer, ViewerEvent};
use cardume_swarm::BitsPerSec;
use clap::ValueEnum;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use printer::Printer;
use recorder::{Choice, Progress, Recorder};
use sink::{STDOUT, Sink};

pub(crate) const EXAMPLES: &str = "\
Examples:
  cardume watch http://tracker.example/watch/live
  cardume watch https://tracker.example/watch/live --output - | ffplay -
  cardume watch http://tracker.example/watch/live --json --for 30s
  cardume watch http://tracker.example/watch/live --viewers 100 --for 5m";

/// Between lines of statistics.
const PRINT_INTERVAL: Duration = Duration::from_secs(1);
/// Between the starts of many viewers: 50 a second, as people come who follow a link.
const START_INTERVAL: Duration = Duration::from_millis(20);
/// How long the last parts may take to be written when it is time to leave. Wild guess.
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// Viewers in one process at most: each has some 8 MB and 80 sockets once it has 15 neighbours (measured with 40).
const VIEWER_LIMIT: i64 = 1000;

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Address of the channel's page, as in `http://tracker.example/watch/live`.
    #[arg(value_name = "URL")]
    address: Address,
    /// Write the stream as fragmented MP4 to a file, or to standard output for `-`; statistics then go to standard error.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write only the picture or only the sound.
    #[arg(long, value_name = "KIND", requires = "output")]
    track: Option<Kind>,
    /// Watch this rendition, by its height (`720p`) or its track's number; else the output has the dearest, and
    /// statistics are of what comes through.
    #[arg(long, value_name = "RENDITION")]
    rendition: Option<Choice>,
    /// Print statistics as JSON, one object a line, once a second for each viewer.
    #[arg(long)]
    json: bool,
    /// Watch this many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=VIEWER_LIMIT),
          conflicts_with = "output")]
    viewers: u16,
    /// Leave after this time, as in `30s`, `5m` or `2h`.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    limit: Option<Duration>,
    /// Send nothing to other viewers.
    #[arg(long)]
    no_upload: bool,
    /// Address of this machine for links to other viewers; may be given more than once.
    /// [default: all but loopback]
    #[arg(long, value_name = "IP")]
    bind: Vec<IpAddr>,
}

/// A kind of track, as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Video,
    Audio,
}

impl From<Kind> for TrackKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Video => Self::Video,
            Kind::Audio => Self::Audio,
        }
    }
}

/// Watches until told to end, until the broadcast that is written out ends, or until nothing can be watched.
#[tokio::main]
pub(crate) async fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    // What `webrtc` warns of is every attempt that another one makes up for.
    Logs::begin("off,cardume=warn", LogFormat::Text).map_err(anyhow::Error::msg)?;
    let signal = super::shutdown_signal().context("cannot listen for signals")?;
    let limit = async {
        match flags.limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let mut audience = Audience::default();
    let outcome = tokio::select! {
        outcome = audience.watch(flags) => outcome,
        () = limit => Ok(()),
        _ = signal => Ok(()),
    };
    outcome.and(audience.leave().await).map(|()| ExitCode::SUCCESS)
}

/// All viewers of this process.
#[derive(Default)]
struct Audience {
    snapshots: Vec<watch::Receiver<Snapshot>>,
    tasks: JoinSet<anyhow::Result<()>>,
    leaves: CancellationToken,
}

impl Audience {
    /// Until one of them has ended.
    async fn watch(&mut self, flags: &Flags) -> anyhow::Result<()> {
        let mut printer = Printer::new(flags.json, flags.writes_to_stdout());
        let (mut starts, mut prints) = (interval(START_INTERVAL), interval(PRINT_INTERVAL));
        loop {
            let is_full = self.snapshots.len() >= usize::from(flags.viewers);
            tokio::select! {
                _ = starts.tick(), if !is_full => self.admit(flags)?,
                Some(ended) = self.tasks.join_next() => return ended?,
                _ = prints.tick() => {
                    let snapshots: Vec<_> = self.snapshots.iter().map(|seen| seen.borrow().clone()).collect();
                    printer.print(&snapshots)?;
                }
            }
        }
    }

    fn admit(&mut self, flags: &Flags) -> anyhow::Result<()> {
        let recorder = match &flags.output {
            Some(output) => Some(Recorder::new(Sink::open(output)?, flags.track.map(Kind::into))),
            None => None,
        };
        let viewer = Viewer::start(Options {
            address: flags.address.clone(),
            upload_limit: flags.no_upload.then_some(BitsPerSec(0)),
            bind: flags.bind.clone(),
            wants_media: recorder.is_some() || flags.rendition.is_some(),
        });
        self.snapshots.push(viewer.snapshots());
        let (leaves, choice) = (self.leaves.clone(), flags.rendition);
        self.tasks.spawn(async move {
            let (mut viewer, mut recorder) = (viewer, recorder);
            let outcome = tokio::select! {
                outcome = follow(&mut viewer, choice, recorder.as_mut()) => outcome,
                () = leaves.cancelled() => Ok(()),
            };
            viewer.leave().await;
            let written = recorder.as_mut().map(|recorder| timeout(WRITE_LIMIT, recorder.finish()));
            match written {
                // Whoever reads too slowly does without the end.
                Some(written) => outcome.and(written.await.unwrap_or(Ok(()))),
                None => outcome,
            }
        });
        Ok(())
    }

    /// Says goodbye for all.
    async fn leave(mut self) -> anyhow::Result<()> {
        self.leaves.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Does what one viewer's events ask for, until there is nothing more to watch.
async fn follow(
    viewer: &mut Viewer,
    choice: Option<Choice>,
    mut recorder: Option<&mut Recorder>,
) -> anyhow::Result<()> {
    let mut was_welcome = false;
    while let Some(event) = viewer.next().await {
        match event {
            ViewerEvent::State(state) => was_welcome |= state != State::Connecting,
            ViewerEvent::Unreachable(refusal) if !was_welcome => return Err(refusal.into()),
            ViewerEvent::Unreachable(refusal) => tracing::warn!("{refusal}; trying again"),
            ViewerEvent::Problem { message, is_fatal: true } => bail!(message),
            ViewerEvent::Problem { message, is_fatal: false } => tracing::warn!("{message}"),
            ViewerEvent::Attach(catalog) => {
                let picture = match (&choice, &recorder) {
                    (Some(choice), _) => Some(choice.find(&catalog)?),
                    (None, Some(_)) => recorder::dearest(&catalog),
                    (None, None) => None,
                };
                viewer.choose(picture).await;
                if let Some(recorder) = &mut recorder
                    && recorder.attach(&catalog, picture) == Progress::Over
                {
                    tracing::warn!("another broadcast begins; the written one ends here");
                    return Ok(());
                }
            }
            ViewerEvent::Part { track, chunks, is_last, .. } => {
                if let Some(recorder) = &mut recorder
                    && recorder.take(track, chunks, is_last).await? == Progress::Over
                {
                    return Ok(());
                }
            }
        }
    }
    bail!("the stream was not read for minutes: whoever reads it is too slow")
}

impl Flags {
    fn writes_to_stdout(&self) -> bool {
        self.output.as_deref() == Some(Path::new(STDOUT))
    }
}

/// A time such as `30s`, `5m` or `2h`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let number = text.strip_suffix(unit)?.parse::<u32>().ok()?;
        Some(u64::from(number) * seconds)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| "write it like 30s, 5m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_time("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(parse_time("2h"), Ok(Duration::from_hours(2)));
        for text in ["", "30", "s", "-1s", "1d", "1.5h"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
