//! Certificates and their key, in files that may be replaced while the server runs.
//!
//! Connections that are open keep what they began with; new ones get what was read last. Files that cannot be used,
//! or do not belong together, change nothing: whoever renews certificates writes one file after the other.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use futures_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// See the module.
pub struct Tls {
    chain: PathBuf,
    key: PathBuf,
    now: Mutex<Now>,
}

struct Now {
    acceptor: TlsAcceptor,
    /// The files that were looked at last, whether they could be used or not.
    seen: [Stamp; 2],
}

/// What tells a file from the one that was there before.
type Stamp = Option<(u64, SystemTime)>;

impl Tls {
    /// A chain of certificates and a key, in PEM files.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn open(chain: &Path, key: &Path) -> Result<Arc<Self>, Error> {
        let seen = [stamp(chain), stamp(key)];
        let acceptor = acceptor(chain, key)?;
        Ok(Arc::new(Self { chain: chain.into(), key: key.into(), now: Mutex::new(Now { acceptor, seen }) }))
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// The files cannot be used; what was read before stays.
    pub fn reload(&self) -> Result<(), Error> {
        let seen = self.stamps();
        let made = acceptor(&self.chain, &self.key);
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.seen = seen;
        now.acceptor = made?;
        Ok(())
    }

    /// Whether the files are others than those that were looked at last.
    pub fn has_changed(&self) -> bool {
        let seen = self.stamps();
        // A file that is not there at all is about to come.
        seen.iter().all(Option::is_some) && self.now.lock().unwrap_or_else(PoisonError::into_inner).seen != seen
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    fn stamps(&self) -> [Stamp; 2] {
        [stamp(&self.chain), stamp(&self.key)]
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()?))
}

fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let damaged = |path: &Path, why: &dyn fmt::Display| Error { path: path.into(), why: why.to_string() };
    let chain = CertificateDer::pem_file_iter(certificates).and_then(|chain| chain.collect::<Result<Vec<_>, _>>());
    let chain = chain.map_err(|error| damaged(certificates, &error))?;
    if chain.is_empty() {
        return Err(damaged(certificates, &"there is no certificate in it"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| damaged(key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| damaged(certificates, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("chain", &self.chain).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why files do not make TLS.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    why: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used for TLS: {}; a PEM file is needed", self.path.display(), self.why)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
    }

    #[test]
    fn files_that_are_no_certificates_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a.pem");
        assert!(Tls::open(&file, &file).is_err());
        fs::write(&file, "x").unwrap();
        assert!(Tls::open(&file, &file).unwrap_err().to_string().contains("no certificate"));
    }

    #[test]
    fn files_that_do_not_belong_together_change_nothing_until_they_do() {
        let home = tempfile::tempdir().unwrap();
        let (chain, key) = (home.path().join("chain.pem"), home.path().join("key.pem"));
        fs::copy(data("tls-cert.pem"), &chain).unwrap();
        fs::copy(data("tls-key.pem"), &key).unwrap();
        let tls = Tls::open(&chain, &key).unwrap();
        assert!(!tls.has_changed());
        fs::copy(data("tls-other-cert.pem"), &chain).unwrap();
        assert!(tls.has_changed() && tls.reload().is_err());
        assert!(!tls.has_changed(), "it is looked at once");
        fs::copy(data("tls-other-key.pem"), &key).unwrap();
        assert!(tls.has_changed() && tls.reload().is_ok() && !tls.has_changed());
        fs::remove_file(&key).unwrap();
        assert!(!tls.has_changed(), "the new one is yet to come");
    }
}
