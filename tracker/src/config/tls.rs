//! What the configuration says of HTTPS.

use super::{Config, ConfigError};
use crate::http::tls::{Acme, Certificate, Files};

/// Where an authority's certificates are kept, in the data directory.
const ACME_FOLDER: &str = "acme";
/// Names in one certificate (Let's Encrypt's limit).
const DOMAIN_LIMIT: usize = 100;
/// The longest name (RFC 1035).
const DOMAIN_LEN_LIMIT: usize = 253;

impl Config {
    /// Where the certificate for HTTPS comes from; `None` without HTTPS.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.https?;
        if let (Some(certificate), Some(key)) = (self.tls_certificate.clone(), self.tls_key.clone()) {
            return Some(Certificate::Files(Files { certificate, key }));
        }
        Some(Certificate::Acme(Acme {
            domains: self.acme_domains.clone(),
            contact: self.acme_contact.clone(),
            directory: self.acme_directory.clone(),
            roots: self.acme_roots.clone(),
            cache: self.data_dir.join(ACME_FOLDER),
        }))
    }

    pub(super) fn check_tls(&self, errors: &mut Vec<ConfigError>) {
        let (has_file, has_key) = (self.tls_certificate.is_some(), self.tls_key.is_some());
        let has_domains = !self.acme_domains.is_empty();
        let reason = match (self.https, has_file || has_key, has_domains) {
            (None, true, _) | (None, _, true) => {
                Some("a certificate without https does nothing; set https to an address")
            }
            (Some(_), true, true) => Some("tls_certificate and acme_domains exclude each other"),
            (Some(_), true, false) if !(has_file && has_key) => {
                Some("tls_certificate and tls_key go together")
            }
            (Some(_), false, false) => {
                Some("https needs a certificate: set tls_certificate and tls_key, or acme_domains")
            }
            _ => None,
        };
        errors.extend(reason.map(|reason| ConfigError::Tls(reason.to_owned())));
        if self.acme_domains.len() > DOMAIN_LIMIT {
            errors.push(ConfigError::Tls(format!("acme_domains has more than {DOMAIN_LIMIT} names")));
        }
        for domain in self.acme_domains.iter().filter(|domain| !is_domain(domain)) {
            errors.push(ConfigError::Tls(format!("{domain:?} of acme_domains is no name of a host")));
        }
        if !self.acme_directory.starts_with("https://") {
            errors.push(ConfigError::Tls(format!(
                "acme_directory {:?} must begin with https://",
                self.acme_directory
            )));
        }
        if self.acme_contact.as_deref().is_some_and(|address| !address.contains('@')) {
            errors.push(ConfigError::Tls("acme_contact is no mail address".to_owned()));
        }
    }
}

/// A name of letters, digits, hyphens and dots; no wildcard, as only DNS can prove those.
fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(is_allowed)
    };
    name.len() <= DOMAIN_LEN_LIMIT && name.contains('.') && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        Config::from_toml(text).unwrap_err().to_string()
    }

    #[test]
    fn https_needs_exactly_one_certificate() {
        let files = "tls_certificate = \"c.pem\"\ntls_key = \"k.pem\"\n";
        let https = "https = \"0.0.0.0:443\"\n";
        let acme = "acme_domains = [\"tv.example.org\"]\n";
        assert_eq!(Config::from_toml("").unwrap().certificate(), None);
        let Some(Certificate::Files(found)) =
            Config::from_toml(&format!("{https}{files}")).unwrap().certificate()
        else {
            panic!("no files");
        };
        assert_eq!(found.key.to_str(), Some("k.pem"));
        let Some(Certificate::Acme(found)) =
            Config::from_toml(&format!("{https}{acme}")).unwrap().certificate()
        else {
            panic!("no authority");
        };
        assert!(found.cache.ends_with("cardume-data/acme"), "{:?}", found.cache);
        assert!(error_of(https).contains("needs a certificate"));
        assert!(error_of(files).contains("without https"));
        assert!(error_of(acme).contains("without https"));
        assert!(error_of(&format!("{https}{files}{acme}")).contains("exclude"));
        assert!(error_of(&format!("{https}tls_key = \"k.pem\"")).contains("go together"));
    }

    #[test]
    fn an_authority_is_asked_for_names_only() {
        let check = |line: &str, words: &str| {
            let text = format!("https = \"0.0.0.0:443\"\nacme_domains = [\"tv.example.org\"]\n{line}");
            let error = error_of(&text);
            assert!(error.contains(words), "{error}");
        };
        check("acme_directory = \"http://localhost\"", "https://");
        check("acme_contact = \"nobody\"", "mail address");
        for name in ["*.example.org", "localhost", "a..b", "-a.example", "1.2.3.4:80", ""] {
            assert!(!is_domain(name), "{name}");
        }
    }
}
