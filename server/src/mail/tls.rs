//! Whom TLS trusts: the usual CAs and those of `ENTREPOST_EXTRA_CA_FILE`.

use std::sync::Arc;

use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters, TlsVersion};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The trusted CAs, prepared once.
#[derive(Clone)]
pub struct Trust {
    extra: Option<Vec<u8>>,
    connector: tokio_rustls::TlsConnector,
}

impl Trust {
    /// # Errors
    /// The file is no PEM.
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
        Ok(Self { extra, connector: tokio_rustls::TlsConnector::from(Arc::new(config)) })
    }

    /// For IMAP.
    #[must_use]
    pub fn connector(&self) -> &tokio_rustls::TlsConnector {
        &self.connector
    }

    /// For lettre. TLS 1.2 or later.
    ///
    /// # Errors
    /// The host is no name that a certificate could have.
    pub fn smtp(&self, host: &str) -> Result<TlsParameters, lettre::transport::smtp::Error> {
        let mut builder = TlsParameters::builder(host.to_owned())
            .certificate_store(CertificateStore::WebpkiRoots)
            .set_min_tls_version(TlsVersion::Tlsv12);
        if let Some(pem) = &self.extra {
            builder = builder.add_root_certificate(Certificate::from_pem(pem)?);
        }
        builder.build()
    }
}
