//! `/metrics`, for Prometheus.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cardume_wire::ChannelId;

use super::{Http, failure};
use crate::channel::Channel;
use crate::cluster::{Figures, Meter, Traffic};
use crate::door::{Caller, Stranger};
use crate::egress::Report;
use crate::ingest::push::Pushes;
use crate::metrics::Kind::{Counter, Gauge};
use crate::metrics::{CONTENT_TYPE, Kind, Page, Refusal, Usage};
use crate::signal::ReportTotals;

/// Where Prometheus reads.
pub(super) const PATH: &str = "/metrics";
/// Channels with samples of their own at most; the others are added up, so that a scrape stays small.
const CHANNEL_LIMIT: usize = 200;
/// What the others are called; no channel can have this id.
const OTHERS: &str = "(others)";

/// The route. It belongs outside of what allows all pages to read: a page in the browser of somebody nearby must not.
pub(super) fn router(http: Http, pushes: Pushes) -> Router {
    Router::new().route(PATH, get(metrics)).with_state(http).layer(axum::Extension(pushes))
}

async fn metrics(
    State(http): State<Http>,
    axum::Extension(pushes): axum::Extension<Pushes>,
    caller: Caller,
    headers: HeaderMap,
) -> Response {
    match http.door.check_metrics(caller, &headers) {
        Ok(()) => {
            let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
            (headers, page(&http, &pushes)).into_response()
        }
        Err(stranger @ Stranger::NoToken) => {
            let mut response = failure(StatusCode::UNAUTHORIZED, &stranger.to_string());
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        Err(stranger @ Stranger::Far) => failure(StatusCode::FORBIDDEN, &stranger.to_string()),
    }
}

fn page(http: &Http, pushes: &Pushes) -> String {
    let mut page = Page::default();
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    page.family("cardume_build_info", Gauge, "The version that runs.").sample(&build, 1);
    write_doors(&mut page, http, pushes);
    write_channels(&mut page, &rows(http));
    write_egress(&mut page, http);
    write_webtorrent(&mut page, http);
    write_cluster(&mut page, http);
    write_usage(&mut page, Usage::read());
    page.finish()
}

fn write_doors(page: &mut Page, http: &Http, pushes: &Pushes) {
    let (connections, encoders) = (&http.connections, &http.encoders);
    page.single("cardume_connections", Gauge, "Connections that are open.", connections.n_taken());
    page.single("cardume_connections_limit", Gauge, "Connections that may be.", connections.limit());
    page.single("cardume_rtmp_connections", Gauge, "Encoders that speak RTMP.", encoders.n_taken());
    page.single("cardume_rtmp_connections_limit", Gauge, "Encoders that may.", encoders.limit());
    page.single("cardume_push_requests", Gauge, "Requests that bring media now.", pushes.n_open());
    let mut family = page.family("cardume_refusals_total", Counter, "Who was turned away, by reason.");
    for refusal in Refusal::ALL {
        family.sample(&[("reason", refusal.name())], http.refusals.n(refusal));
    }
    family.sample(&[("reason", "egress_budget")], http.readers.n_refused());
}

/// What is told of one channel, or of several.
#[derive(Debug, Default)]
struct Row {
    name: String,
    n_live: u64,
    n_viewers: u64,
    n_links: u64,
    link_len: u64,
    n_waiting: u64,
    reports: ReportTotals,
}

fn rows(http: &Http) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for channel in http.channels.iter() {
        let row = row(http, &channel);
        if rows.len() == CHANNEL_LIMIT {
            rows.push(Row { name: OTHERS.to_owned(), ..Row::default() });
        }
        match rows.get_mut(CHANNEL_LIMIT) {
            Some(others) => others.add(&row),
            None => rows.push(row),
        }
    }
    rows
}

fn row(http: &Http, channel: &Channel) -> Row {
    let id: &ChannelId = channel.id();
    let server = http.servers.find(id);
    let (link_len, n_links, n_waiting) = server.map_or((0, 0, 0), |server| {
        (server.egress().total_len, server.n_links() as u64, server.queue().0 as u64)
    });
    Row {
        name: id.to_string(),
        n_live: u64::from(channel.is_live()),
        n_viewers: u64::from(channel.n_viewers()),
        n_links,
        link_len,
        n_waiting,
        reports: http.signalling.registry.totals(id),
    }
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.n_live += other.n_live;
        self.n_viewers += other.n_viewers;
        self.n_links += other.n_links;
        self.link_len += other.link_len;
        self.n_waiting += other.n_waiting;
        self.reports.add_all(&other.reports);
    }
}

type Column = (&'static str, Kind, &'static str, fn(&Row) -> u64);

const COLUMNS: [Column; 10] = [
    ("cardume_channel_live", Gauge, "Whether somebody is on air.", |row| row.n_live),
    ("cardume_viewers", Gauge, "Viewers.", |row| row.n_viewers),
    ("cardume_linked_viewers", Gauge, "Viewers with a link to the server.", |row| row.n_links),
    ("cardume_link_sent_bytes_total", Counter, "Bytes sent over server links.", |row| row.link_len),
    ("cardume_server_peer_queue", Gauge, "Messages that wait for the server peer.", |row| row.n_waiting),
    ("cardume_viewer_reports_total", Counter, "Reports of viewers.", |row| row.reports.n_reports),
    ("cardume_viewer_stalls_total", Counter, "Stalls that viewers report.", |row| row.reports.n_stalls),
    ("cardume_viewer_from_peers_bytes_total", Counter, "Media that viewers got from others.", |row| {
        row.reports.from_peers_len
    }),
    ("cardume_viewer_from_server_bytes_total", Counter, "Media that viewers got from the server.", |row| {
        row.reports.from_server_len
    }),
    ("cardume_viewer_sent_bytes_total", Counter, "Media that viewers passed on.", |row| row.reports.sent_len),
];

fn write_channels(page: &mut Page, rows: &[Row]) {
    for (name, kind, help, value) in COLUMNS {
        let mut family = page.family(name, kind, help);
        for row in rows {
            family.sample(&[("channel", &row.name)], value(row));
        }
    }
    let mut family =
        page.family("cardume_viewer_stalled_seconds_total", Counter, "For how long they stalled, in all.");
    for row in rows {
        let (seconds, ms) = (row.reports.stalled_ms / 1000, row.reports.stalled_ms % 1000);
        family.sample(&[("channel", &row.name)], format_args!("{seconds}.{ms:03}"));
    }
}

fn write_egress(page: &mut Page, http: &Http) {
    let readers = &http.readers;
    let report = Report::new(readers, &http.relayed);
    let sent = "Bytes sent, by class: server links, LL-HLS, what was relayed, the site's files.";
    let mut family = page.family("cardume_egress_bytes_total", Counter, sent);
    // What the budget counts are links, HLS and the relay.
    let (hls_len, relay_len) = (report.hls.total_len, report.relay.total_len);
    family.sample(&[("class", "link")], report.egress.total_len.saturating_sub(hls_len + relay_len));
    family.sample(&[("class", "hls")], hls_len);
    family.sample(&[("class", "relay")], relay_len);
    family.sample(&[("class", "site")], readers.site_len());
    let now = report.egress.bits_per_second;
    page.single("cardume_egress_bits_per_second", Gauge, "Sent in the last second, under the limit.", now);
    let max = report.egress.max_bits_per_second;
    page.single("cardume_egress_max_bits_per_second", Gauge, "In the busiest second since the start.", max);
    page.single(
        "cardume_egress_shares",
        Gauge,
        "Channels that share it, HLS, and the relay.",
        report.n_shares,
    );
    let mut limits =
        page.family("cardume_egress_limit_bits_per_second", Gauge, "The limit in force; none without one.");
    if let Some(limit) = report.limit_now_bits_per_second {
        limits.sample(&[], limit);
    }
    let month = report.month.as_ref();
    let quota = "What may be sent in a month; none without one.";
    let mut family = page.family("cardume_month_quota_bytes", Gauge, quota);
    if let Some(month) = month {
        family.sample(&[], month.quota_len);
    }
    let mut family = page.family("cardume_month_sent_bytes", Gauge, "What was sent in this month.");
    if let Some(month) = month {
        family.sample(&[], month.sent_len);
    }
}

fn write_webtorrent(page: &mut Page, http: &Http) {
    let totals = http.announces.as_ref().map(|announces| announces.swarms.totals()).unwrap_or_default();
    let n_sockets = http.announces.as_ref().map_or(0, |announces| announces.places.n_taken());
    page.single("cardume_webtorrent_sockets", Gauge, "Sockets of WebTorrent clients.", n_sockets);
    page.single("cardume_webtorrent_torrents", Gauge, "Torrents with somebody in them.", totals.n_swarms);
    page.single("cardume_webtorrent_peers", Gauge, "Peers in them.", totals.n_members);
    let mut family =
        page.family("cardume_webtorrent_messages_total", Counter, "What clients sent, or were sent.");
    for (kind, n) in [
        ("announce", totals.n_announces),
        ("offer", totals.n_offers),
        ("answer", totals.n_answers),
        ("dropped", totals.n_dropped),
        ("refused", totals.n_failures),
    ] {
        family.sample(&[("kind", kind)], n);
    }
}

/// Without samples where there are no other nodes.
fn write_cluster(page: &mut Page, http: &Http) {
    let figures = http.cluster.as_ref().map(Meter::read);
    let mut gauge = |name, help, of: fn(&Figures) -> u64| {
        let mut family = page.family(name, Gauge, help);
        if let Some(figures) = &figures {
            family.sample(&[], of(figures));
        }
    };
    gauge("cardume_nats_connected", "Whether NATS is there.", |it| u64::from(it.is_connected));
    gauge("cardume_cluster_nodes", "Other nodes that live.", |it| it.n_nodes);
    let mut traffic = |name, kind, help, of: fn(&Traffic) -> u64| {
        let mut family = page.family(name, kind, help);
        if let Some(figures) = &figures {
            family.sample(&[("kind", "media")], of(&figures.media));
            family.sample(&[("kind", "control")], of(&figures.small));
        }
    };
    let help = "Messages to other nodes: parcels of media, and all else.";
    traffic("cardume_cluster_sent_total", Counter, help, |it| it.n_sent);
    let help = "Messages of other nodes.";
    traffic("cardume_cluster_received_total", Counter, help, |it| it.n_received);
    let help = "Messages that were lost, as the queue was full or NATS away.";
    traffic("cardume_cluster_lost_total", Counter, help, |it| it.n_lost);
    let help = "Bytes that wait to be sent to other nodes.";
    traffic("cardume_cluster_waiting_bytes", Gauge, help, |it| it.waiting_len);
    let help = "What viewers told those of other nodes and was lost before it came to the queue.";
    let mut family = page.family("cardume_cluster_signals_lost_total", Counter, help);
    if let Some(figures) = &figures {
        family.sample(&[], figures.n_signals_lost);
    }
}

fn write_usage(page: &mut Page, usage: Usage) {
    let runtime = tokio::runtime::Handle::current().metrics();
    page.single("cardume_tasks", Gauge, "Tasks of the runtime.", runtime.num_alive_tasks());
    let depth = runtime.global_queue_depth();
    page.single("cardume_runtime_queue", Gauge, "Tasks that wait for a thread.", depth);
    let mut write = |name, kind, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            page.single(name, kind, help, value);
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "Prometheus reads all numbers so")]
    let number = |len: u64| len as f64;
    let files = usage.n_open_files.and_then(|n| u64::try_from(n).ok()).map(number);
    write("process_resident_memory_bytes", Gauge, "Memory in use.", usage.resident_len.map(number));
    write("process_open_fds", Gauge, "Open files.", files);
    write("process_max_fds", Gauge, "Files that may be open.", usage.open_file_limit.map(number));
    write("process_cpu_seconds_total", Counter, "Time on processors.", usage.cpu_seconds);
    let start = "When the process began, in seconds since 1970.";
    write("process_start_time_seconds", Gauge, start, usage.started_at_seconds);
}
