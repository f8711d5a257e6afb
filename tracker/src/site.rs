//! The web site: built into the binary, or served from a directory while somebody works on it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use axum::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;

include!(concat!(env!("OUT_DIR"), "/site.rs"));

const NOT_BUILT: &str = include_str!("site/not-built.html");
const NOT_FOUND: &str = include_str!("site/not-found.html");
/// For files whose names carry a hash of their content: a year, the longest that caches honour (RFC 9111).
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// For all others: ask each time whether the `ETag` is still the same.
const REVALIDATE: &str = "no-cache";
/// A file of the site at most; the WebAssembly is the largest, well under a tenth of this.
const FILE_LEN_LIMIT: u64 = 64 * 1024 * 1024;

/// Where the pages come from; cheap to clone.
#[derive(Debug, Clone)]
pub enum Site {
    /// Built into the binary.
    Embedded(Arc<BTreeMap<&'static str, File>>),
    /// Read anew for each request.
    Directory(Arc<PathBuf>),
}

/// One file of the site.
#[derive(Debug, Clone)]
pub struct File {
    body: Bytes,
    etag: HeaderValue,
}

/// A site directory that is none.
#[derive(Debug, thiserror::Error)]
#[error("{path} has no index.html: is it the built site?")]
pub struct NoSite {
    path: PathBuf,
    source: std::io::Error,
}

impl Site {
    /// The site that was built into the binary.
    pub fn embedded() -> Self {
        let files = FILES.iter().map(|(name, body)| (*name, File::new(Bytes::from_static(body))));
        Self::Embedded(Arc::new(files.collect()))
    }

    /// The site in this directory.
    ///
    /// # Errors
    /// When there is no `index.html` in it.
    pub fn directory(path: &Path) -> Result<Self, NoSite> {
        std::fs::metadata(path.join("index.html"))
            .map_err(|source| NoSite { path: path.to_owned(), source })?;
        Ok(Self::Directory(Arc::new(path.to_owned())))
    }

    /// Answers a request for this path.
    pub async fn respond(&self, path: &str, request: &HeaderMap) -> Response<Body> {
        let name = name_of(path);
        match self.read(name).await {
            Some(file) => file.respond(name, request),
            None if name == "index.html" => page(StatusCode::OK, NOT_BUILT),
            None => page(StatusCode::NOT_FOUND, NOT_FOUND),
        }
    }

    async fn read(&self, name: &str) -> Option<File> {
        match self {
            Self::Embedded(files) => files.get(name).cloned(),
            Self::Directory(root) => {
                let path = inside(root, name)?;
                tokio::task::spawn_blocking(move || read_file(&path)).await.ok().flatten()
            }
        }
    }
}

impl File {
    fn new(body: Bytes) -> Self {
        let hash = blake3::hash(&body).to_hex();
        let (short, _) = hash.split_at(32);
        let etag = HeaderValue::try_from(format!("\"{short}\""));
        Self { body, etag: etag.unwrap_or(HeaderValue::from_static("\"\"")) }
    }

    fn respond(self, name: &str, request: &HeaderMap) -> Response<Body> {
        let is_known = request.get(IF_NONE_MATCH).is_some_and(|known| known == self.etag);
        let (status, body) = if is_known {
            (StatusCode::NOT_MODIFIED, Body::empty())
        } else {
            (StatusCode::OK, Body::from(self.body))
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let caching = if name.starts_with("assets/") { IMMUTABLE } else { REVALIDATE };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(mime(name)));
        headers.insert(ETAG, self.etag);
        response
    }
}

/// The file behind an address: pages have addresses without an extension, and one page shows any channel.
fn name_of(path: &str) -> &str {
    match path.trim_start_matches('/') {
        "" => "index.html",
        "api" => "api.html",
        watch if watch == "watch" || watch.starts_with("watch/") => "watch.html",
        embed if embed == "embed" || embed.starts_with("embed/") => "embed.html",
        name => name,
    }
}

/// The path of a file in the directory; `None` for names that lead out of it.
fn inside(root: &Path, name: &str) -> Option<PathBuf> {
    let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| root.join(name))
}

fn read_file(path: &Path) -> Option<File> {
    let is_fit = std::fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() <= FILE_LEN_LIMIT);
    let body = is_fit.then(|| std::fs::read(path).ok()).flatten()?;
    Some(File::new(body.into()))
}

fn page(status: StatusCode, html: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(REVALIDATE));
    response
}

fn mime(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        // Without this very type browsers refuse to compile while it streams in.
        "wasm" => "application/wasm",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(files: &[(&str, &str)]) -> (tempfile::TempDir, Site) {
        let directory = tempfile::tempdir().unwrap();
        for (name, body) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, body).unwrap();
        }
        let site = Site::directory(directory.path()).unwrap();
        (directory, site)
    }

    fn header(response: &Response<Body>, name: axum::http::HeaderName) -> &str {
        response.headers().get(name).unwrap().to_str().unwrap()
    }

    #[tokio::test]
    async fn assets_are_kept_for_ever_and_pages_are_asked_for_again() {
        let (_directory, site) = site(&[("index.html", "<p>"), ("assets/peer-1a2b.wasm", "wasm")]);
        let wasm = site.respond("/assets/peer-1a2b.wasm", &HeaderMap::new()).await;
        assert_eq!(header(&wasm, CONTENT_TYPE), "application/wasm");
        assert!(header(&wasm, CACHE_CONTROL).contains("immutable"));
        let page = site.respond("/", &HeaderMap::new()).await;
        assert_eq!(header(&page, CACHE_CONTROL), "no-cache");
        let mut request = HeaderMap::new();
        request.insert(IF_NONE_MATCH, page.headers().get(ETAG).unwrap().clone());
        assert_eq!(site.respond("/", &request).await.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn pages_have_short_addresses_and_any_channel_has_the_same_two() {
        let files = [
            ("index.html", "list"),
            ("watch.html", "watch"),
            ("embed.html", "embed"),
            ("embed.js", "js"),
            ("api.html", "api"),
        ];
        let (_directory, site) = site(&files);
        for (path, body) in [
            ("/watch/news", "watch"),
            ("/embed/a_b", "embed"),
            ("/embed.js", "js"),
            ("/", "list"),
            ("/api", "api"),
        ] {
            let response = site.respond(path, &HeaderMap::new()).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let bytes = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(bytes, body, "{path}");
        }
    }

    #[tokio::test]
    async fn no_address_leads_out_of_the_directory() {
        let (directory, site) = site(&[("index.html", "list")]);
        std::fs::write(directory.path().parent().unwrap().join("cardume-secret.txt"), "secret").unwrap();
        for path in ["/../cardume-secret.txt", "/assets/../../cardume-secret.txt", "//etc/passwd", "/nothing"]
        {
            let response = site.respond(path, &HeaderMap::new()).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        }
        std::fs::remove_file(directory.path().parent().unwrap().join("cardume-secret.txt")).unwrap();
    }
}
