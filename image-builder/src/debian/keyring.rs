//! Which OpenPGP keys may sign a repository, and whether one of them did (RFC 9580).
//!
//! The `pgp` crate does the arithmetic and has no policy. Policy here: a signature counts if it was made by a pinned
//! primary key or by a signing subkey that such a key has bound, with SHA-2 or SHA-3, neither in the future nor by a
//! key that is expired or revoked. Bindings are verified one by one: `SignedPublicKey::verify_bindings` takes the
//! certifications of third parties for self-signatures and fails on most archive keys.

use std::fmt::Write as _;

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};

use crate::debian::cleartext::Cleartext;
use crate::tree::fixups::date;

/// How far ahead of our clock a signature may be: apt's Acquire::Max-FutureTime, seconds.
pub(crate) const CLOCK_TOLERANCE: i64 = 10;

/// Bound for the signatures looked at; archives have two to four.
const MAX_SIGNATURES: usize = 32;

/// The keys that may sign, found by full fingerprint.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// A signature that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Fingerprint of the primary key, upper-case hexadecimal.
    pub fingerprint: String,
    /// When it was made, seconds since 1970.
    pub time: i64,
}

impl Keyring {
    /// Picks the keys with the `pinned` fingerprints (of primary keys, hexadecimal, spaces allowed) out of key files,
    /// armored or binary. Other keys in the files are passed over.
    pub fn pinned<'a>(
        pinned: &[String],
        files: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, KeyringError> {
        let mut found = Vec::new();
        for file in files {
            found.extend(read(file)?);
        }
        let mut keys = Vec::new();
        for text in pinned {
            let fingerprint: String = text
                .split_whitespace()
                .collect::<String>()
                .to_ascii_uppercase();
            if !matches!(fingerprint.len(), 40 | 64)
                || !fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit())
            {
                return Err(KeyringError::Fingerprint {
                    fingerprint: text.clone(),
                });
            }
            let key = found
                .iter()
                .find(|key| fingerprint_of(&key.primary_key) == fingerprint);
            keys.push(key.ok_or(KeyringError::Missing { fingerprint })?.clone());
        }
        Ok(Keyring { keys })
    }

    /// Verifies `document` at time `now` (seconds since 1970): one good signature of a pinned key is enough.
    pub fn verify(&self, document: &Cleartext<'_>, now: i64) -> Result<Signer, SignatureError> {
        let signatures = signatures(document.armor)?;
        let signed = document.signed();
        let mut rejected = Vec::new();
        for signature in &signatures {
            match self.check(signature, signed.as_bytes(), now) {
                Ok(signer) => return Ok(signer),
                Err(rejection) => rejected.push(rejection),
            }
        }
        Err(SignatureError::NoneGood { rejected, now })
    }

    fn check(&self, signature: &Signature, signed: &[u8], now: i64) -> Result<Signer, Rejection> {
        if !matches!(
            signature.typ(),
            Some(SignatureType::Text | SignatureType::Binary)
        ) {
            return Err(Rejection::Kind);
        }
        let mut rejection = Rejection::Unknown {
            issuer: issuer(signature),
        };
        for key in &self.keys {
            let fingerprint = fingerprint_of(&key.primary_key);
            if issued_by(signature, &key.primary_key) {
                rejection = match verify_with(signature, &key.primary_key, signed, now) {
                    Ok(time) => match may_sign(key, time, now) {
                        Ok(()) => return Ok(Signer { fingerprint, time }),
                        Err(rejection) => rejection,
                    },
                    Err(rejection) => rejection,
                };
            }
            for subkey in key
                .public_subkeys
                .iter()
                .filter(|subkey| issued_by(signature, &subkey.key))
            {
                rejection = match verify_with(signature, &subkey.key, signed, now) {
                    Ok(time) => {
                        match alive(key, time, now).and_then(|()| bound(key, subkey, time, now)) {
                            Ok(()) => return Ok(Signer { fingerprint, time }),
                            Err(rejection) => rejection,
                        }
                    }
                    Err(rejection) => rejection,
                };
            }
        }
        Err(rejection)
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Made by a key that is not pinned.
    #[error("made by key {issuer}, which is not pinned")]
    Unknown {
        /// Fingerprint or key id as the signature gives it.
        issuer: String,
    },
    /// The arithmetic says no: text or signature was altered.
    #[error("does not fit the text: one of them was altered")]
    Bad,
    /// MD5, SHA-1 and the like.
    #[error("made with {hash}, which can be forged")]
    Weak {
        /// Name of the hash function.
        hash: String,
    },
    /// Not a signature over a document.
    #[error("not a signature over a document")]
    Kind,
    /// No time in it.
    #[error("has no time")]
    Undated,
    /// Made in the future.
    #[error("made {seconds} s ahead of this machine's clock")]
    Future {
        /// How far.
        seconds: i64,
    },
    /// The signature itself has an end.
    #[error("expired")]
    Expired,
    /// The key is expired, or was when it signed.
    #[error("made by key {fingerprint}, which has expired")]
    KeyExpired {
        /// The primary key or the subkey.
        fingerprint: String,
    },
    /// The key was revoked.
    #[error("made by key {fingerprint}, which was revoked")]
    KeyRevoked {
        /// The primary key or the subkey.
        fingerprint: String,
    },
    /// The key may not sign: no valid self-signature says so.
    #[error("made by key {fingerprint}, which no valid self-signature allows to sign")]
    KeyUsage {
        /// The primary key or the subkey.
        fingerprint: String,
    },
}

/// Why a document is not taken for signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Unreadable signature block.
    #[error("reading its signatures: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// Signatures, but none that counts.
    #[error("no signature of a pinned key counts ({})", list(rejected))]
    NoneGood {
        /// Why, one by one.
        rejected: Vec<Rejection>,
        /// What the clock said, in seconds since 1970.
        now: i64,
    },
}

impl SignatureError {
    /// What the user can do.
    pub fn hint(&self) -> String {
        let keys = "if the distribution has new keys, add them to the profile";
        match self {
            SignatureError::NoneGood { rejected, now }
                if rejected.iter().any(Rejection::is_of_time) =>
            {
                format!("{} if it is, {keys}", ask_clock(*now))
            }
            SignatureError::NoneGood { .. } | SignatureError::Malformed { .. } => {
                format!("a mirror cannot sign: {keys}")
            }
        }
    }
}

impl Rejection {
    /// Whether another time would have another answer.
    fn is_of_time(&self) -> bool {
        matches!(
            self,
            Rejection::Future { .. } | Rejection::Expired | Rejection::KeyExpired { .. }
        )
    }
}

/// The question whether the clock is right, where that explains more than anything else.
pub(crate) fn ask_clock(now: i64) -> String {
    let (year, month, day) = date(now);
    format!("this machine's clock says {year:04}-{month:02}-{day:02}: is it right?")
}

/// Why pinned keys could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A short key id or something else.
    #[error("`{fingerprint}` is not a full OpenPGP fingerprint (40 hexadecimal digits)")]
    Fingerprint {
        /// As written.
        fingerprint: String,
    },
    /// No file has the key.
    #[error("no key file holds the pinned key {fingerprint}")]
    Missing {
        /// Upper-case hexadecimal.
        fingerprint: String,
    },
    /// A file that holds no OpenPGP keys.
    #[error("reading an OpenPGP key file: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
}

fn list(rejected: &[Rejection]) -> String {
    match rejected {
        [] => "it has none".to_owned(),
        _ => rejected
            .iter()
            .map(Rejection::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    }
}

fn read(file: &[u8]) -> Result<Vec<SignedPublicKey>, KeyringError> {
    let malformed = |error: pgp::errors::Error| KeyringError::Malformed {
        reason: error.to_string(),
    };
    if file.starts_with(b"-----") {
        let (keys, _) = SignedPublicKey::from_armor_many(file).map_err(malformed)?;
        return keys.collect::<Result<_, _>>().map_err(malformed);
    }
    SignedPublicKey::from_bytes_many(file)
        .map_err(malformed)?
        .collect::<Result<_, _>>()
        .map_err(malformed)
}

fn signatures(armor: &str) -> Result<Vec<Signature>, SignatureError> {
    let malformed = |reason: String| SignatureError::Malformed { reason };
    let mut signatures = Vec::new();
    let dearmor = pgp::armor::Dearmor::new(armor.as_bytes());
    for packet in PacketParser::new(std::io::BufReader::new(dearmor)) {
        match packet.map_err(|error| malformed(error.to_string()))? {
            Packet::Signature(signature) => signatures.push(signature),
            other => {
                return Err(malformed(format!(
                    "unexpected packet {:?}",
                    packet_tag(&other)
                )));
            }
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(malformed(format!("more than {MAX_SIGNATURES} signatures")));
        }
    }
    Ok(signatures)
}

fn packet_tag(packet: &Packet) -> Tag {
    use pgp::packet::PacketTrait as _;
    packet.tag()
}

/// The arithmetic and the signature's own policy; gives the time of the signature.
fn verify_with(
    signature: &Signature,
    key: &impl pgp::types::VerifyingKey,
    signed: &[u8],
    now: i64,
) -> Result<i64, Rejection> {
    strong(signature)?;
    signature.verify(key, signed).map_err(|_| Rejection::Bad)?;
    let time = i64::from(signature.created().ok_or(Rejection::Undated)?.as_secs());
    if time > now.saturating_add(CLOCK_TOLERANCE) {
        return Err(Rejection::Future {
            seconds: time - now,
        });
    }
    let lifetime = signature
        .signature_expiration_time()
        .map_or(0, |duration| duration.as_secs());
    match lifetime != 0 && time + i64::from(lifetime) <= now {
        true => Err(Rejection::Expired),
        false => Ok(time),
    }
}

fn strong(signature: &Signature) -> Result<(), Rejection> {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha224
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        Some(hash) => Err(Rejection::Weak {
            hash: hash.to_string(),
        }),
        None => Err(Rejection::Weak {
            hash: "an unknown hash function".to_owned(),
        }),
    }
}

/// The primary key itself made the signature: it must be alive and flagged for signing.
fn may_sign(key: &SignedPublicKey, time: i64, now: i64) -> Result<(), Rejection> {
    alive(key, time, now)?;
    match self_signature(key, now).is_some_and(|signature| signature.key_flags().sign()) {
        true => Ok(()),
        false => Err(Rejection::KeyUsage {
            fingerprint: fingerprint_of(&key.primary_key),
        }),
    }
}

/// The primary key has a valid self-signature, is not revoked, and was and is within its lifetime.
fn alive(key: &SignedPublicKey, time: i64, now: i64) -> Result<(), Rejection> {
    let primary = &key.primary_key;
    let fingerprint = fingerprint_of(primary);
    let revoked = key
        .details
        .revocation_signatures
        .iter()
        .any(|signature| signature.verify_key(primary).is_ok());
    if revoked {
        return Err(Rejection::KeyRevoked { fingerprint });
    }
    let Some(signature) = self_signature(key, now) else {
        return Err(Rejection::KeyUsage { fingerprint });
    };
    within_lifetime(primary, signature, time, now)
}

/// The newest valid self-signature, which says what the key is for and how long.
fn self_signature(key: &SignedPublicKey, now: i64) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key
        .details
        .direct_signatures
        .iter()
        .filter(|signature| signature.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        let own = |signature: &&Signature| {
            issued_by(signature, primary)
                && signature
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        };
        let valid: Vec<_> = user.signatures.iter().filter(own).collect();
        let revoked = valid
            .iter()
            .any(|signature| signature.typ() == Some(SignatureType::CertRevocation));
        if revoked { Vec::new() } else { valid }
    });
    newest(direct.chain(users), now)
}

/// The newest valid binding of the subkey allows it to sign, and the subkey agrees (RFC 9580, section 5.2.1.6).
fn bound(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    time: i64,
    now: i64,
) -> Result<(), Rejection> {
    let primary = &key.primary_key;
    let fingerprint = fingerprint_of(&subkey.key);
    let valid = || {
        let verified = |signature: &&Signature| {
            signature
                .verify_subkey_binding(primary, &subkey.key)
                .is_ok()
        };
        subkey.signatures.iter().filter(verified)
    };
    if valid().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(Rejection::KeyRevoked { fingerprint });
    }
    let bindings =
        valid().filter(|signature| signature.typ() == Some(SignatureType::SubkeyBinding));
    let usage = || Rejection::KeyUsage {
        fingerprint: fingerprint.clone(),
    };
    let binding = newest(bindings, now).ok_or_else(usage)?;
    let back = binding
        .embedded_signature()
        .filter(|back| strong(back).is_ok());
    let agreed = back.is_some_and(|back| {
        back.verify_primary_key_binding(&subkey.key, primary)
            .is_ok()
    });
    if !binding.key_flags().sign() || !agreed {
        return Err(usage());
    }
    within_lifetime(&subkey.key, binding, time, now)
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: i64) -> Option<&'a Signature> {
    let current = |signature: &&Signature| {
        let lifetime = signature
            .signature_expiration_time()
            .map_or(0, |duration| i64::from(duration.as_secs()));
        signature.created().is_some_and(|created| {
            let created = i64::from(created.as_secs());
            created <= now.saturating_add(CLOCK_TOLERANCE)
                && (lifetime == 0 || created + lifetime > now)
        })
    };
    let time = |signature: &&Signature| signature.created().map(|created| created.as_secs());
    signatures
        .filter(|signature| strong(signature).is_ok())
        .filter(current)
        .max_by_key(time)
}

fn within_lifetime(
    key: &impl KeyDetails,
    signature: &Signature,
    time: i64,
    now: i64,
) -> Result<(), Rejection> {
    let created = i64::from(key.created_at().as_secs());
    let lifetime = signature
        .key_expiration_time()
        .map_or(0, |duration| i64::from(duration.as_secs()));
    let expired = lifetime != 0 && created + lifetime <= now.max(time);
    match expired || time < created {
        true => Err(Rejection::KeyExpired {
            fingerprint: fingerprint_of(key),
        }),
        false => Ok(()),
    }
}

fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (fingerprints, ids) = (signature.issuer_fingerprint(), signature.issuer_key_id());
    fingerprints.contains(&&key.fingerprint())
        || (fingerprints.is_empty() && (ids.is_empty() || ids.contains(&&key.legacy_key_id())))
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|fingerprint| hexadecimal(fingerprint.as_bytes()));
    let id = || {
        signature
            .issuer_key_id()
            .first()
            .map(|id| format!("{id}").to_ascii_uppercase())
    };
    fingerprint
        .or_else(id)
        .unwrap_or_else(|| "without a name".to_owned())
}

fn fingerprint_of(key: &impl KeyDetails) -> String {
    hexadecimal(key.fingerprint().as_bytes())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02X}").expect("writing to a string does not fail");
            text
        })
}

/// Fingerprints of the primary keys in a key file, armored or binary, upper-case hexadecimal.
pub fn fingerprints(file: &[u8]) -> Result<Vec<String>, KeyringError> {
    Ok(read(file)?
        .iter()
        .map(|key| fingerprint_of(&key.primary_key))
        .collect())
}
