//! What may be changed of users and clients: quotas of both, credentials of users.

use bytes::Bytes;
use client::{Admin, Error};
use hmac::Hmac;
use sha2::{Sha256, Sha512};
use wire::ErrorCode;
use wire::messages::AlterUserScramCredentialsRequest;
use wire::messages::alter_user_scram_credentials_request::{ScramCredentialDeletion, ScramCredentialUpsertion};

use super::resources::refused;
use super::{Changes, Entities, quotas};
use crate::failure::Failure;

const DEFAULT_ITERATIONS: i32 = 4096;
const MIN_ITERATIONS: i32 = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl Mechanism {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "SCRAM-SHA-256" => Some(Mechanism::Sha256),
            "SCRAM-SHA-512" => Some(Mechanism::Sha512),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Mechanism::Sha256 => "SCRAM-SHA-256",
            Mechanism::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// `Hi` of RFC 5802.
    fn salted_password(self, password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
        let rounds = iterations.unsigned_abs();
        // The key of an HMAC may have any length, so that nothing can go wrong here.
        match self {
            Mechanism::Sha256 => {
                let mut out = vec![0; 32];
                let _ = pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, rounds, &mut out);
                out
            }
            Mechanism::Sha512 => {
                let mut out = vec![0; 64];
                let _ = pbkdf2::pbkdf2::<Hmac<Sha512>>(password, salt, rounds, &mut out);
                out
            }
        }
    }
}

/// Java's words for a list: of added keys it is a Set, of deleted ones an ArrayBuffer.
fn listed(kind: &str, keys: &[&str]) -> String {
    format!("{kind}({})", keys.join(", "))
}

pub async fn alter(admin: &Admin, entities: &Entities, changes: &Changes) -> Result<(), Failure> {
    let is_scram = |key: &&str| Mechanism::parse(key).is_some();
    let is_unknown = |key: &&str| !is_scram(key) && !quotas::is_client_quota(key);
    let added: Vec<&str> = changes.add.keys().map(String::as_str).collect();
    let deleted: Vec<&str> = changes.delete.iter().map(String::as_str).collect();
    let of = |keys: &[&'_ str], wanted: &dyn Fn(&&str) -> bool| -> Vec<String> {
        keys.iter().filter(|key| wanted(key)).map(|key| (*key).to_owned()).collect()
    };
    let with_clients = entities.first_type() == "clients" || entities.types.len() == 2;
    for (verb, kind, keys) in [("added", "Set", &added), ("deleted", "ArrayBuffer", &deleted)] {
        let mut unexpected = of(keys, &is_unknown);
        let (what, entity) = if with_clients { ("quota", "clients") } else { ("quota and SCRAM credential", "users") };
        if with_clients {
            unexpected.extend(of(keys, &is_scram));
        }
        if !unexpected.is_empty() {
            let list: Vec<&str> = unexpected.iter().map(String::as_str).collect();
            return Err(Failure::new(format!(
                "Only {what} configs can be {verb} for '{entity}' using --bootstrap-server. Unexpected config names: {}",
                listed(kind, &list)
            )));
        }
    }
    let any_scram = added.iter().chain(&deleted).any(is_scram);
    let any_quota = added.iter().chain(&deleted).any(|key| quotas::is_client_quota(key));
    if any_scram && entities.names.iter().any(String::is_empty) {
        let text = "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.";
        return Err(Failure::new(text));
    }
    if any_scram && any_quota {
        let text = "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server.";
        return Err(Failure::new(text));
    }
    if any_quota {
        return quotas::alter(admin, entities, changes).await;
    }
    alter_credentials(admin, entities.names.first().map_or("", String::as_str), changes).await
}

async fn alter_credentials(admin: &Admin, user: &str, changes: &Changes) -> Result<(), Failure> {
    let mut request = AlterUserScramCredentialsRequest::default();
    for mechanism in changes.delete.iter().filter_map(|key| Mechanism::parse(key)) {
        request.deletions.push(ScramCredentialDeletion { name: user.to_owned(), mechanism: mechanism as i8, ..Default::default() });
    }
    for (mechanism, value) in changes.add.iter().filter_map(|(key, value)| Some((Mechanism::parse(key)?, value))) {
        let (iterations, password) = iterations_and_password(mechanism, value).map_err(Failure::new)?;
        let salt = salt()?;
        request.upsertions.push(ScramCredentialUpsertion {
            name: user.to_owned(),
            mechanism: mechanism as i8,
            iterations,
            salted_password: mechanism.salted_password(password.as_bytes(), &salt, iterations).into(),
            salt,
            ..Default::default()
        });
    }
    let response = admin.controller(request).await.map_err(refused)?;
    match response.results.into_iter().find(|result| result.error_code != 0) {
        Some(result) => Err(refused(Error::broker(ErrorCode::from_code(result.error_code), result.error_message))),
        None => Ok(()),
    }
}

/// Bytes that nobody can foretell.
fn salt() -> Result<Bytes, Failure> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| Failure::new(format!("the operating system gives no random bytes: {error}")))?;
    Ok(Bytes::copy_from_slice(&salt))
}

/// `iterations=N,password=P`, the first of which may be missing.
fn iterations_and_password(mechanism: Mechanism, text: &str) -> Result<(i32, &str), String> {
    let bad = || format!("Invalid credential property {}={text}", mechanism.name().replace('-', "_"));
    let (iterations, rest) = match text.strip_prefix("iterations=") {
        Some(rest) => rest.split_once(',').ok_or_else(bad)?,
        None => ("-1", text),
    };
    let password = rest.strip_prefix("password=").ok_or_else(bad)?;
    let iterations = match iterations {
        "-1" => DEFAULT_ITERATIONS,
        number => number.parse().map_err(|_| bad())?,
    };
    if iterations < MIN_ITERATIONS {
        let name = mechanism.name();
        return Err(format!("Iterations {iterations} is less than the minimum {MIN_ITERATIONS} required for {name}"));
    }
    Ok((iterations, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let read = |text| iterations_and_password(Mechanism::Sha256, text);
        assert_eq!(read("password=a,b"), Ok((4096, "a,b")));
        assert_eq!(read("iterations=8192,password=p"), Ok((8192, "p")));
        assert_eq!(
            read("iterations=1,password=p"),
            Err("Iterations 1 is less than the minimum 4096 required for SCRAM-SHA-256".to_owned())
        );
        assert_eq!(read("foo"), Err("Invalid credential property SCRAM_SHA_256=foo".to_owned()));
    }

    /// The example of RFC 7677: its client proof follows from this salted password.
    #[test]
    fn salted_as_rfc_7677() {
        let salt = [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
        let salted = Mechanism::Sha256.salted_password(b"pencil", &salt, 4096);
        let hex: String = salted.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d");
    }
}
