//! A certificate in two files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::{TlsError, provider};

/// How soon a changed file is noticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The two files, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and behind it those between it and the authority's.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What the files had when they were last in order.
#[derive(Debug)]
pub(super) struct Held(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Reads the files; the future reads them again when they change, until `stop`.
pub(super) fn open(
    files: Files,
    stop: CancellationToken,
) -> Result<(Arc<Held>, impl Future<Output = ()> + Send + 'static), TlsError> {
    let stamp = files.stamp();
    let held = Arc::new(Held(RwLock::new(Arc::new(files.read()?))));
    let keeping = keep(files, Arc::clone(&held), stamp);
    Ok((held, async move {
        stop.run_until_cancelled(keeping).await;
    }))
}

async fn keep(files: Files, held: Arc<Held>, mut stamp: Stamp) {
    let mut told = String::new();
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        looks.tick().await;
        let now = files.stamp();
        if now == stamp {
            continue;
        }
        // Two files do not change at once: what is wrong now may be right at the next look.
        match files.read() {
            Ok(key) => {
                *held.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!("HTTPS has the changed certificate of {}", files.certificate.display());
                stamp = now;
                told.clear();
            }
            Err(error) if error.to_string() == told => {}
            Err(error) => {
                told = error.to_string();
                tracing::warn!("HTTPS keeps the certificate that it has: {error}");
            }
        }
    }
}

/// By which a change of the files is seen: when each was written, and how long it is.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Files {
    fn stamp(&self) -> Stamp {
        let of = |path: &Path| {
            let facts = path.metadata().ok()?;
            Some((facts.modified().ok()?, facts.len()))
        };
        [of(&self.certificate), of(&self.key)]
    }

    pub(super) fn read(&self) -> Result<CertifiedKey, TlsError> {
        let no_certificate = |reason: String| TlsError::File {
            path: self.certificate.clone(),
            purpose: "the certificate (PEM)",
            reason,
        };
        let no_key = |reason: String| TlsError::File {
            path: self.key.clone(),
            purpose: "the private key (PEM)",
            reason,
        };
        let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| no_certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(no_certificate("there is none in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| no_key(error.to_string()))?;
        let key = provider().key_provider.load_private_key(key).map_err(|error| no_key(error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::OtherKey { certificate: self.certificate.clone(), key: self.key.clone() })
            }
            Err(error) => Err(no_certificate(error.to_string())),
        }
    }
}
