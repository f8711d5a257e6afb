//! What people paste: the address of a page that shows a channel.

use std::fmt;
use std::str::FromStr;

use cardume_wire::ChannelId;
use tokio_tungstenite::tungstenite::http::Uri;

/// A channel of a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `ws://` or `wss://`, host and port, and the path that a proxy may have put before the tracker's own, without a slash
    /// at its end.
    socket_origin: String,
    /// Which of the tracker's channels.
    pub channel: ChannelId,
}

/// Why this is no address of a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `http://` or `https://` and a host.
    #[error(
        "{0:?} is no web address; it begins with http:// or https://, as in http://tracker.example/watch/live"
    )]
    Form(String),
    /// No `/watch/CHANNEL`, `/embed/CHANNEL` or `/v1/channels/CHANNEL` in it.
    #[error("{0:?} names no channel; give the address of its page, as in http://tracker.example/watch/live")]
    NoChannel(String),
}

/// What stands before a channel's name.
const PAGES: [&str; 3] = ["/watch/", "/embed/", "/v1/channels/"];

impl Address {
    /// The address of a WebSocket of the tracker, by its path and query.
    pub(crate) fn socket_url(&self, path: &str) -> String {
        format!("{}{path}", self.socket_origin)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.to_owned());
        let uri = text.parse::<Uri>().map_err(|_| form())?;
        let scheme = match uri.scheme_str() {
            Some("http" | "ws") => "ws",
            Some("https" | "wss") => "wss",
            _ => return Err(form()),
        };
        let authority = uri.authority().ok_or_else(form)?;
        let no_channel = || AddressError::NoChannel(text.to_owned());
        let (before, channel) =
            PAGES.iter().find_map(|page| uri.path().split_once(page)).ok_or_else(no_channel)?;
        let channel = channel.strip_suffix('/').unwrap_or(channel).parse().map_err(|_| no_channel())?;
        Ok(Self { socket_origin: format!("{scheme}://{authority}{before}"), channel })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.channel, self.socket_origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let found = text.parse::<Address>().map(|address| address.socket_url("/v1/signal"));
        assert_eq!(found.as_deref(), Ok(expect), "{text}");
    }

    #[test]
    fn pages_embeds_and_the_api_name_channels() {
        check("http://host/watch/live", "ws://host/v1/signal");
        check("https://host:8443/embed/live?autoplay=0", "wss://host:8443/v1/signal");
        check("http://[::1]:8080/v1/channels/live/", "ws://[::1]:8080/v1/signal");
        check("https://host/tv/watch/live", "wss://host/tv/v1/signal");
    }

    #[test]
    fn what_is_no_channel_is_refused_with_an_example() {
        for text in ["live", "ftp://host/watch/live", "/watch/live", ""] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Form(text.to_owned())));
        }
        for text in ["http://host", "http://host/", "http://host/watch/", "http://host/watch/No%20channel"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::NoChannel(text.to_owned())));
        }
    }
}
