//! How a connection runs, by its statistics (W3C, Identifiers for WebRTC's Statistics API).

use cardume_swarm::Route;
use js_sys::{Map, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::RtcPeerConnection;

/// The way of what is sent now; direct when the browser does not say.
pub(crate) async fn route(connection: &RtcPeerConnection) -> Route {
    let report = JsFuture::from(connection.get_stats()).await;
    report.ok().and_then(|report| of_report(report.unchecked_ref())).unwrap_or(Route::Direct)
}

/// The way by the pair of candidates that is in use.
fn of_report(report: &Map) -> Option<Route> {
    let pair = selected_pair(report)?;
    let is_relayed = |end: &str| {
        let candidate = report.get(&field(&pair, end));
        field(&candidate, "candidateType") == "relay"
    };
    let route = if is_relayed("localCandidateId") || is_relayed("remoteCandidateId") {
        Route::Relayed
    } else {
        Route::Direct
    };
    Some(route)
}

/// The transport names it; in Firefox it says so itself.
fn selected_pair(report: &Map) -> Option<JsValue> {
    let all: Vec<JsValue> = report.values().into_iter().flatten().collect();
    let named = all.iter().map(|stats| report.get(&field(stats, "selectedCandidatePairId")));
    let says_so = |stats: &&JsValue| field(stats, "selected") == JsValue::TRUE;
    named.into_iter().find(JsValue::is_object).or_else(|| all.iter().find(says_so).cloned())
}

fn field(of: &JsValue, name: &str) -> JsValue {
    Reflect::get(of, &name.into()).unwrap_or(JsValue::UNDEFINED)
}
