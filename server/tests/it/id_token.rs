//! id_token validation against each tampered field.

use app::model::{ClientId, TenantId, Timestamp};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rsa::pkcs8::EncodePrivateKey;
use serde_json::{Value, json};
use server::identity::{Expected, IdTokenError, Identity, validate};

const CLIENT: &str = "7d1f0a52-3c1b-4b0e-9a55-0c0e7c8a41fd";
const TENANT: &str = "c1a5b7de-90f4-4d0f-8f62-2a7be01d7c35";
const ISSUER: &str = "https://login.example/c1a5b7de-90f4-4d0f-8f62-2a7be01d7c35/v2.0";
const NOW: i64 = 1_800_000_000;

struct Keys {
    mine: EncodingKey,
    foreign: EncodingKey,
    published: JwkSet,
}

fn key() -> EncodingKey {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    EncodingKey::from_rsa_pem(key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap().as_bytes()).unwrap()
}

fn keys() -> Keys {
    let (mine, foreign) = (key(), key());
    let mut jwk = Jwk::from_encoding_key(&mine, Algorithm::RS256).unwrap();
    jwk.common.key_id = Some("k1".into());
    Keys { mine, foreign, published: JwkSet { keys: vec![jwk] } }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": CLIENT, "exp": NOW + 3600, "nbf": NOW, "iat": NOW, "nonce": "the nonce", "sub": "subject",
        "tid": TENANT, "oid": "aa", "preferred_username": "user@demo.example", "email": "User@Demo.example",
    })
}

fn signed(key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = kid.map(ToOwned::to_owned);
    encode(&header, claims, key).unwrap()
}

fn check(token: &str, published: &JwkSet) -> Result<Identity, IdTokenError> {
    let expected = Expected {
        issuer: ISSUER,
        client_id: ClientId::parse(CLIENT).unwrap(),
        tenant_id: TenantId(TENANT.parse().unwrap()),
        nonce: "the nonce",
        now: Timestamp(NOW * 1000),
    };
    validate(token, published, &expected)
}

#[test]
fn an_untouched_token_names_the_person() {
    let keys = keys();
    let identity = check(&signed(&keys.mine, Some("k1"), &claims()), &keys.published).unwrap();
    assert_eq!(identity.sign_in_name, "user@demo.example");
    assert_eq!(identity.names, ["user@demo.example"]);
    assert_eq!(identity.email.as_deref(), Some("User@Demo.example"));
    assert_eq!(identity.subject, format!("aa@{TENANT}"));
}

#[test]
fn every_tampered_claim_is_refused() {
    let keys = keys();
    let cases: Vec<(&str, Value)> = vec![
        ("iss", json!("https://login.example/other/v2.0")),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", Value::Null),
        ("aud", json!("00000000-0000-0000-0000-000000000000")),
        ("aud", json!([])),
        // A second audience without `azp` (OpenID Connect Core, 3.1.3.7).
        ("aud", json!([CLIENT, "00000000-0000-0000-0000-000000000000"])),
        ("aud", Value::Null),
        ("exp", json!(NOW - 301)),
        ("exp", Value::Null),
        ("exp", json!("soon")),
        ("nbf", json!(NOW + 301)),
        ("iat", json!(NOW + 301)),
        ("nonce", json!("another nonce")),
        ("nonce", json!("")),
        ("nonce", Value::Null),
        ("sub", Value::Null),
        ("tid", json!("00000000-0000-0000-0000-000000000000")),
        ("tid", json!("not a guid")),
        ("azp", json!("00000000-0000-0000-0000-000000000000")),
        ("preferred_username", json!("user@demo.example\r\nX: y")),
    ];
    for (field, value) in cases {
        let mut claims = claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(field);
        } else {
            claims[field] = value.clone();
        }
        assert!(check(&signed(&keys.mine, Some("k1"), &claims), &keys.published).is_err(), "{field} = {value}");
    }
}

#[test]
fn a_token_that_names_nobody_is_refused() {
    let keys = keys();
    let mut claims = claims();
    for name in ["preferred_username", "email"] {
        claims.as_object_mut().unwrap().remove(name);
    }
    assert!(check(&signed(&keys.mine, Some("k1"), &claims), &keys.published).is_err());
}

#[test]
fn every_tampered_signature_is_refused() {
    let keys = keys();
    let token = signed(&keys.mine, Some("k1"), &claims());
    assert!(check(&signed(&keys.foreign, Some("k1"), &claims()), &keys.published).is_err(), "another key");
    assert_eq!(check(&signed(&keys.mine, Some("k2"), &claims()), &keys.published), Err(IdTokenError::UnknownKey));
    assert!(check(&signed(&keys.mine, None, &claims()), &keys.published).is_ok(), "one key needs no name");

    // Each claim changed under the original signature.
    let all = claims();
    for field in all.as_object().unwrap().keys() {
        let mut changed = all.clone();
        changed[field] = match &all[field] {
            Value::Number(number) => json!(number.as_i64().unwrap() + 1),
            _ => json!("user2@demo.example"),
        };
        let payload = BASE64_URL_SAFE_NO_PAD.encode(changed.to_string());
        let parts: Vec<&str> = token.split('.').collect();
        let forged = format!("{}.{payload}.{}", parts[0], parts[2]);
        assert!(check(&forged, &keys.published).is_err(), "{field} under the old signature");
    }

    let mut parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let other = signed(&keys.foreign, Some("k1"), &claims());
    parts[2] = other.split('.').nth(2).unwrap();
    assert!(check(&parts.join("."), &keys.published).is_err(), "a foreign signature");
    assert!(check(&format!("{header}.{payload}."), &keys.published).is_err(), "no signature");
    assert!(check(&format!("{header}.{signature}.{payload}"), &keys.published).is_err(), "parts swapped");
    assert!(check("", &keys.published).is_err());
    assert!(check("a.b.c", &keys.published).is_err());
}

#[test]
fn weak_algorithms_are_refused() {
    let keys = keys();
    // `alg: none`, and HS256 with the public key as its secret.
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let payload = signed(&keys.mine, Some("k1"), &claims()).split('.').nth(1).unwrap().to_owned();
    assert!(check(&format!("{none}.{payload}."), &keys.published).is_err());
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".into());
    let secret = serde_json::to_vec(&keys.published).unwrap();
    let hs = encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
    assert!(matches!(check(&hs, &keys.published), Err(IdTokenError::Algorithm(_))));
}
