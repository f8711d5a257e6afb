//! A certificate from an authority that gives it by itself (ACME, RFC 8555), and anew before it ends.
//!
//! It asks for the name at the HTTPS port itself (TLS-ALPN-01, RFC 8737), so nothing else has to be reachable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::caches::DirCache;
use rustls_acme::{AcmeConfig, EventOk, ResolvesServerCertAcme};
use tokio_util::sync::CancellationToken;

use super::{TlsError, provider};

/// Whom to ask for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The names that the certificate is for.
    pub domains: Vec<String>,
    /// Where the authority writes to when something is wrong.
    pub contact: Option<String>,
    /// The authority's directory, a URL.
    pub directory: String,
    /// What the authority's own certificate is checked by (PEM); the usual public roots without.
    pub roots: Option<PathBuf>,
    /// Where account and certificate are kept, so that a restart asks for nothing.
    pub cache: PathBuf,
}

/// Begins to ask; the future asks, answers and renews until `stop`.
pub(super) fn open(
    acme: Acme,
    stop: CancellationToken,
) -> Result<(Arc<ResolvesServerCertAcme>, impl Future<Output = ()> + Send + 'static), TlsError> {
    make_private(&acme.cache)?;
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(acme.roots.as_deref())?)
        .with_no_client_auth();
    let mut state = AcmeConfig::new_with_client_config(&acme.domains, Arc::new(client))
        .contact(acme.contact.iter().map(|address| format!("mailto:{address}")))
        .directory(&acme.directory)
        .cache(DirCache::new(acme.cache))
        .state();
    let resolver = state.resolver();
    let names = acme.domains.join(", ");
    let asking = async move {
        while let Some(event) = state.next().await {
            match event {
                Ok(EventOk::DeployedNewCert) => tracing::info!("HTTPS has a new certificate for {names}"),
                Ok(EventOk::DeployedCachedCert) => {
                    tracing::info!("HTTPS has its kept certificate for {names}");
                }
                Ok(EventOk::CertCacheStore | EventOk::AccountCacheStore) => {}
                Err(error) => tracing::warn!("ACME, for {names}: {error}; it is tried again by itself"),
            }
        }
    };
    Ok((resolver, async move {
        stop.run_until_cancelled(asking).await;
    }))
}

/// Makes the directory, for nobody else to read: keys are in it.
fn make_private(path: &Path) -> Result<(), TlsError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path).map_err(|error| TlsError::File {
        path: path.to_owned(),
        purpose: "the place of certificates",
        reason: error.to_string(),
    })
}

pub(super) fn roots(path: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let Some(path) = path else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let unusable = |reason: String| TlsError::File {
        path: path.to_owned(),
        purpose: "the authority's roots (PEM)",
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}
