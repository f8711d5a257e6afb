//! From plain HTTP to HTTPS, where the tracker speaks both.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};

use crate::config::authority_host;
use crate::door::is_nearby;

/// The port of HTTPS that addresses leave out.
const HTTPS_PORT: u16 = 443;

/// Sends whoever opens a page by plain HTTP to HTTPS at this port. Programs, which do not all follow, get what they ask for, and so
/// does who is nearby, as a proxy is.
pub fn pages_to_https(routes: Router, port: u16) -> Router {
    routes.layer(from_fn_with_state(port, redirect))
}

async fn redirect(State(port): State<u16>, request: Request, next: Next) -> Response {
    match https(&request, port) {
        Some(address) => Redirect::permanent(&address).into_response(),
        None => next.run(request).await,
    }
}

/// Where the same page is by HTTPS; `None` when this is no page, or not to be redirected.
fn https(request: &Request, port: u16) -> Option<String> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let text = |name| request.headers().get(name)?.to_str().ok();
    let is_for_people = text(header::ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    let connected = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip();
    if !is_read || !is_for_people || is_nearby(connected) {
        return None;
    }
    let host = authority_host(text(header::HOST)?)?;
    let port = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    Some(format!("https://{host}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn address(from: &str, accept: &str, host: &str, port: u16) -> Option<String> {
        let request = Request::get("/watch/live?x=1").header("accept", accept).header("host", host);
        let address = SocketAddr::new(from.parse().unwrap(), 50_000);
        https(&request.extension(ConnectInfo(address)).body(Body::empty()).unwrap(), port)
    }

    #[test]
    fn who_opens_a_page_from_elsewhere_is_sent_to_https() {
        let page = "text/html,application/xhtml+xml";
        let expected = Some("https://tv.example.org/watch/live?x=1".to_owned());
        assert_eq!(address("198.51.100.7", page, "tv.example.org", 443), expected);
        assert_eq!(address("198.51.100.7", page, "tv.example.org:80", 443), expected);
        let other = address("198.51.100.7", page, "[2001:db8::1]:8080", 8443).unwrap();
        assert_eq!(other, "https://[2001:db8::1]:8443/watch/live?x=1");
    }

    #[test]
    fn programs_neighbours_and_nonsense_are_not() {
        assert_eq!(address("198.51.100.7", "*/*", "tv.example.org", 443), None);
        assert_eq!(address("10.0.0.7", "text/html", "tv.example.org", 443), None);
        assert_eq!(address("198.51.100.7", "text/html", "tv example", 443), None);
    }
}
