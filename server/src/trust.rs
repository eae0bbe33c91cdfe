//! Trusted CAs: the public ones and those of `ENTREPOST_EXTRA_CA_FILE`.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// How long an HTTP server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The trusted CAs, prepared once.
#[derive(Clone)]
pub struct Trust {
    connector: tokio_rustls::TlsConnector,
}

impl Trust {
    pub fn new(extra: Option<Vec<u8>>) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = &extra {
            let mut any = false;
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| error.to_string())?;
                roots.add(certificate).map_err(|error| error.to_string())?;
                any = true;
            }
            if !any {
                return Err("no certificate in it (PEM is expected)".into());
            }
        }
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: tokio_rustls::TlsConnector::from(Arc::new(config)) })
    }

    /// A client of HTTP that follows no redirect: one could carry a secret elsewhere.
    pub fn http(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .use_preconfigured_tls(self.connector.config().as_ref().clone())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .user_agent(concat!("Entrepost/", env!("CARGO_PKG_VERSION")))
    }

    /// For IMAP and SMTP. TLS 1.2 or later.
    pub fn connector(&self) -> &tokio_rustls::TlsConnector {
        &self.connector
    }
}
