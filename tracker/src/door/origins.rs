//! Origins of pages (RFC 6454) that may open sockets.

use std::str::FromStr;

use axum::http::Uri;
use serde::Deserialize;

/// What stands for all subdomains.
const SUBDOMAINS: &str = "*.";

/// An origin such as `https://tv.example.org`, all subdomains as in `https://*.example.org`, or `*`, which is all.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(Pattern);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(String),
    /// `https://` and `.example.org:8443`.
    Subdomains {
        scheme: String,
        suffix: String,
    },
}

/// Text that is no [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin: write it like \"https://tv.example.org\", \"https://*.example.org\" or \"*\", without a path"
)]
pub struct InvalidOrigin(String);

impl Origin {
    /// Whether it stands for all.
    pub fn is_any(&self) -> bool {
        self.0 == Pattern::Any
    }

    /// The origin of a web address.
    pub(super) fn of_url(url: &str) -> Option<Self> {
        let uri = url.parse::<Uri>().ok()?;
        format!("{}://{}", uri.scheme_str()?, uri.authority()?).parse().ok()
    }

    /// Whether a page of this origin is meant; `origin` as browsers write it.
    pub(super) fn matches(&self, origin: &str) -> bool {
        match &self.0 {
            Pattern::Any => true,
            Pattern::Exact(exact) => exact == origin,
            Pattern::Subdomains { scheme, suffix } => {
                let host =
                    origin.strip_prefix(scheme.as_str()).and_then(|host| host.strip_suffix(suffix.as_str()));
                host.is_some_and(|host| !host.is_empty())
            }
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text == "*" {
            return Ok(Self(Pattern::Any));
        }
        let text = text.to_ascii_lowercase();
        let parse = || {
            let (scheme, host) =
                text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
            let domain = host.strip_prefix(SUBDOMAINS);
            let is_host =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
            let bare = domain.unwrap_or(host);
            (!bare.is_empty() && bare.chars().all(is_host)).then_some(())?;
            Some(match domain {
                Some(domain) => {
                    Pattern::Subdomains { scheme: format!("{scheme}://"), suffix: format!(".{domain}") }
                }
                None => Pattern::Exact(text.clone()),
            })
        };
        parse().map(Self).ok_or_else(|| InvalidOrigin(text.clone()))
    }
}

impl TryFrom<String> for Origin {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, InvalidOrigin> {
        text.parse()
    }
}
