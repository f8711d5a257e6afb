//! Who sent a request, as the door recognises them.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

use super::Http;
use crate::door::Caller;

impl FromRequestParts<Http> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Infallible> {
        let connected = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        // The accept loop always says it.
        let connected = connected.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Ok(http.door.recognise(connected, &parts.headers))
    }
}
