//! TLS: whom we believe. Certificates are always verified; there is no way to switch that off. The only file that names rustls.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::system::Wire;

/// Certificates of authorities from a PEM file, at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities(Vec<CertificateDer<'static>>);

/// Why a text holds no authorities.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// Not PEM.
    #[error("is no PEM file: {0}")]
    Pem(pem::Error),
    /// PEM without a certificate.
    #[error("has no certificate in it")]
    Empty,
    /// A certificate that cannot be an authority's.
    #[error("has a certificate that is no authority's: {0}")]
    Unusable(rustls::Error),
}

impl Authorities {
    /// Reads every certificate of a PEM text; what else stands in it is passed over.
    ///
    /// # Errors
    /// [`AuthoritiesError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, AuthoritiesError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let authorities = Self(certificates.map_err(AuthoritiesError::Pem)?);
        if authorities.0.is_empty() {
            return Err(AuthoritiesError::Empty);
        }
        authorities.add_to(&mut RootCertStore::empty()).map_err(AuthoritiesError::Unusable)?;
        Ok(authorities)
    }

    fn add_to(&self, roots: &mut RootCertStore) -> Result<(), rustls::Error> {
        self.0.iter().try_for_each(|certificate| roots.add(certificate.clone()))
    }
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authorities").field(&self.0.len()).finish()
    }
}

/// A connection to the host that it should lead to.
pub(super) type Verified = TlsStream<Box<dyn Wire>>;

/// A client of TLS that believes one set of authorities.
#[derive(Clone)]
pub(super) struct Verifier(TlsConnector);

impl Verifier {
    /// Believes whom the host believes, and others on top. Says in the log when the host believes nobody.
    pub(super) fn of_the_host(more: Option<&Authorities>) -> Result<Self, rustls::Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        for error in found.errors {
            tracing::warn!(%error, "an authority's certificate of this host cannot be read");
        }
        if usable == 0 {
            tracing::warn!(
                "this host has no certificates of authorities (on Debian: apt install ca-certificates); keys and documents of \
                 clients cannot be fetched"
            );
        }
        more.map_or(Ok(()), |more| more.add_to(&mut roots))?;
        Self::new(roots)
    }

    /// Believes these, and nobody else.
    pub(super) fn of(authorities: &Authorities) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        authorities.add_to(&mut roots)?;
        Self::new(roots)
    }

    fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = versions.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each fetch is a connection of its own; a ticket would only let hosts recognise us.
        config.resumption = Resumption::disabled();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands with the host of this name: its certificate must be for it, and signed by somebody we believe.
    pub(super) async fn verify(&self, host: &str, stream: Box<dyn Wire>) -> std::io::Result<Verified> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(std::io::Error::other)?;
        self.0.connect(name, stream).await
    }
}
