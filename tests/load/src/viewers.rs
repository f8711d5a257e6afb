//! Viewers of our own signalling: they join, send an offer to each neighbour that they are named, answer, and leave.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use cardume_wire::PROTOCOL_VERSION;
use clap::Args;
use serde_json::Value;
use tokio::task::LocalSet;

use crate::pace::pass;
use crate::socket::Target;
use crate::tally::Tally;

/// Longest life of a viewer.
const LIFE: Duration = Duration::from_secs(5);

/// Options of `load viewers`.
#[derive(Args)]
pub(crate) struct Options {
    /// A tracker, such as `ws://127.0.0.1:8080`.
    url: String,
    /// The channel that they watch.
    #[arg(long, default_value = "live")]
    channel: String,
    /// Viewers at a time; one that leaves is followed by another.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// Bytes of each session description.
    #[arg(long, default_value_t = 1000)]
    sdp_len: usize,
    /// How long to measure, after as long to warm up.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Options {
    /// A thousand at a time, on the channel that a tracker has without configuration.
    pub(crate) fn of(url: String, seconds: u64) -> Self {
        Self { url, channel: "live".into(), viewers: 1000, sdp_len: 1000, seconds }
    }
}

/// Path and query of a viewer's socket.
pub(crate) fn path(channel: &str) -> String {
    format!("/v1/signal?version={PROTOCOL_VERSION}&channel={channel}")
}

/// Measures: a reply is the welcome, by the time since the connection was asked for.
pub(crate) async fn run(options: Options) -> Result<Value> {
    let target = Target::parse(&options.url)?.with_path(path(&options.channel));
    let tally = Rc::new(RefCell::new(Tally::new()));
    let sdp: Rc<str> = "v".repeat(options.sdp_len).into();
    let tasks = LocalSet::new();
    for index in 0..options.viewers {
        tasks.spawn_local(live(target.clone(), index, Rc::clone(&tally), Rc::clone(&sdp)));
    }
    let measured = Duration::from_secs(options.seconds);
    tasks
        .run_until(async {
            pass(measured).await;
            *tally.borrow_mut() = Tally::new();
            pass(measured).await;
        })
        .await;
    let tally = tally.replace(Tally::new());
    Ok(tally.finish(&format!("viewers, {} at a time", options.viewers)))
}

/// One viewer after the other, for ever.
async fn live(target: Target, index: usize, tally: Rc<RefCell<Tally>>, sdp: Rc<str>) {
    // Not all at once.
    pass(LIFE.mul_f64(fastrand::f64())).await;
    loop {
        let asked_at = Instant::now();
        let Ok(socket) = target.open(index).await else {
            tally.borrow_mut().n_failures += 1;
            pass(LIFE).await;
            continue;
        };
        let watching = socket.listen(|text| hear(text, asked_at, &tally, &sdp, |said| socket.send(said)));
        // Its end is the socket's: nobody says goodbye here.
        let _ = tokio::time::timeout(LIFE, watching).await;
    }
}

fn hear(text: &str, asked_at: Instant, tally: &RefCell<Tally>, sdp: &str, say: impl Fn(&str)) {
    let mut tally = tally.borrow_mut();
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        tally.n_failures += 1;
        return;
    };
    match message["type"].as_str() {
        Some("welcome") => {
            tally.reply(asked_at);
            for neighbour in message["neighbours"].as_array().into_iter().flatten() {
                say(&format!(r#"{{"type":"offer","to":{neighbour},"sdp":"{sdp}"}}"#));
            }
        }
        Some("offer") => {
            tally.n_offers += 1;
            say(&format!(r#"{{"type":"answer","to":{},"sdp":"{sdp}"}}"#, message["from"]));
        }
        Some("answer") => tally.n_answers += 1,
        Some("error") => tally.n_failures += 1,
        _ => {}
    }
}
