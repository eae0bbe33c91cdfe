//! Certificates, the federated credential, and the whole life of a secret.

use std::sync::Arc;

use app::model::{CredentialKind, MailboxState};
use sandbox::Federated;
use server::clock::Clock;
use server::store::{KeyPurpose, Slot};
use sqlx::Connection;

use crate::common::{Browser, Database, Seat, World, complete, connects_with_a_password, location, without_comments};
use crate::email_state::shown;

const CONFIG: &str = "/institution/config/general/email";
const CREDENTIALS: &str = "/institution/config/general/email/credentials";
const USER: &str = "user@demo.example";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

struct Journey {
    world: World,
    seat: Seat,
    admin: Browser,
    clock: Clock,
}

impl Journey {
    async fn start(database: &Database) -> Self {
        let clock = Clock::manual(Clock::system().now());
        let world = World::start_with(database, clock.clone(), &[]).await;
        let seat = world.seat(USER).await;
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        Self { world, seat, admin, clock }
    }

    async fn page(&self, path: &str) -> String {
        self.admin.get(&self.world.url("demo", path)).await.text().await.unwrap()
    }

    /// Posts a form; returns the configuration page afterwards.
    async fn post(&self, function: &str, fields: &[(&str, &str)]) -> String {
        self.admin.post(&self.world.url("demo", &format!("/api/{function}")), fields).await;
        self.page(CONFIG).await
    }

    async fn save(&self, more: &[(&str, &str)]) -> String {
        let app = self.world.app_values();
        let fields = [
            ("provider", "exchange_online"),
            ("client_id", app.client_id.as_str()),
            ("tenant_id", app.tenant_id.as_str()),
            ("custom_from", "no"),
        ];
        self.post("save_email_config", &[&fields, more].concat()).await
    }

    /// Renews the mailbox at Microsoft.
    async fn renews(&self) -> bool {
        let mailbox = self.world.services.store.mailbox(self.seat.key()).await.unwrap().unwrap();
        self.world.services.tokens.forget(self.seat.mailbox);
        self.world.services.tokens.prove(&mailbox).await.is_ok()
    }

    async fn slot(&self, slot: Slot) -> Option<server::store::Registration> {
        self.world.services.store.registration(self.seat.institution, slot).await.unwrap()
    }

    /// Makes a certificate, and uploads it at Microsoft.
    async fn certificate(&self) -> String {
        self.admin.post(&self.world.url("demo", "/api/make_certificate"), &[]).await;
        let page = self.page(CREDENTIALS).await;
        let (_, rest) = page.split_once(&format!("{CREDENTIALS}/certificate/")).expect("a link to download");
        let id = rest.split('"').next().unwrap();
        self.download(id).await
    }

    async fn download(&self, id: &str) -> String {
        let answer = self.admin.get(&self.world.url("demo", &format!("{CREDENTIALS}/certificate/{id}"))).await;
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    fn upload(&self, pem: &str) {
        self.world.sandbox.world().app.certificates.push(pem.to_owned());
    }

    /// What an administrator pastes at Microsoft, as the page shows it.
    async fn federated(&self) -> Federated {
        let page = without_comments(&self.page(CREDENTIALS).await);
        let shown = |name: &str| {
            let (_, rest) = page.split_once(&format!(">{name}</p>")).unwrap();
            let (_, rest) = rest.split_once("<code>").unwrap();
            rest.split_once("</code>").unwrap().0.to_owned()
        };
        Federated { issuer: shown("Issuer"), subject: shown("Subject identifier"), audience: shown("Audience") }
    }

    fn cloud(&self) -> Arc<server::config::Microsoft> {
        self.world.services.app_credentials.cloud("").unwrap()
    }

    /// The app in use with another proof.
    async fn with(&self, proof: server::identity::Proof) -> server::identity::Credentials {
        let current = self.slot(Slot::Current).await.unwrap();
        let tenant = current.tenant_id.to_string();
        server::identity::Credentials { client_id: current.client_id, tenant, cloud: self.cloud(), proof }
    }

    /// Time passes here and at Microsoft.
    fn advance(&self, days: i64) {
        self.clock.advance_ms(days * DAY_MS);
        self.world.sandbox.world().clock_ahead += days * DAY_MS / 1000;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_used_for_everything_where_secrets_are_forbidden() {
    for database in Database::both().await {
        let journey = Journey::start(&database).await;
        let page = journey.save(&[("credential", "certificate")]).await;
        assert!(page.contains("Make a certificate first"), "{page}");
        let pem = journey.certificate().await;
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE"), "{pem}");
        let page = journey.save(&[("credential", "certificate")]).await;
        assert!(
            page.contains("Microsoft does not accept this server&#x27;s signature")
                || page.contains("Microsoft does not accept this server's signature"),
            "it is not uploaded yet: {page}"
        );
        assert_eq!(
            journey.slot(Slot::Current).await.unwrap().credential,
            CredentialKind::Secret,
            "nothing has changed"
        );
        journey.upload(&pem);
        journey.world.sandbox.world().faults.secrets_forbidden = true;
        assert!(!journey.renews().await, "the policy ended the secret");
        assert!(journey.page(CONFIG).await.contains("A policy of the tenant forbids this credential."));
        let page = journey.save(&[("credential", "certificate")]).await;
        assert!(page.contains("The certificate is already in use for every connected mailbox."), "{page}");
        // Save itself has renewed a mailbox.
        assert!(page.contains("Not proved yet: signing people in."), "{page}");
        let used = journey.slot(Slot::Current).await.unwrap();
        assert_eq!((used.credential, used.secret_sealed.as_str()), (CredentialKind::Certificate, ""));
        assert!(journey.slot(Slot::Previous).await.is_none());
        assert!(journey.renews().await);
        let page = journey.page(CONFIG).await;
        assert!(page.contains("Delete the old Client Secret at Microsoft"), "{page}");
        assert!(!journey.post("forget_superseded", &[]).await.contains("Delete the old Client Secret"));
        // A person's sign-in redeems its code with the certificate, and every check passes.
        let done = connects_with_a_password(&journey.world, "admin@demo.example").await;
        assert!(done.contains("Your mailbox is connected"), "{done}");
        let page = journey.page(CREDENTIALS).await;
        assert!(page.contains("In use: Certificate") && !page.contains("not yet"), "{page}");
        let log = journey.page("/institution/audit").await;
        assert!(log.contains("Certificate made") && log.contains("Credential changed"), "{log}");
        journey.world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_federated_credential_needs_no_secret_at_all() {
    for database in Database::both().await {
        let journey = Journey::start(&database).await;
        journey.world.sandbox.world().faults.secrets_forbidden = true;
        let page = journey.save(&[("credential", "federated")]).await;
        assert!(
            page.contains("Microsoft doesn&#x27;t know the federated credential yet")
                || page.contains("Microsoft doesn't know the federated credential yet"),
            "{page}"
        );
        assert_eq!(journey.slot(Slot::Waiting).await.unwrap().credential, CredentialKind::Federated);
        assert_eq!(journey.slot(Slot::Current).await.unwrap().credential, CredentialKind::Secret);
        let right = journey.federated().await;
        journey.world.sandbox.world().app.federated.push(right);
        let page = journey.post("verify_again", &[]).await;
        assert!(page.contains("Microsoft accepted the credentials."), "{page}");
        assert!(!page.contains("No expiry date set."), "{page}");
        assert!(journey.renews().await);
        let used = journey.slot(Slot::Current).await.unwrap();
        assert_eq!((used.credential, used.secret_sealed.as_str()), (CredentialKind::Federated, ""));
        assert!(used.renewed_at.is_some() && journey.slot(Slot::Previous).await.is_none());
        let done = connects_with_a_password(&journey.world, "admin@demo.example").await;
        assert!(done.contains("Your mailbox is connected"), "{done}");
        // Saved again without a change, nothing changes.
        let page = journey.save(&[("credential", "federated")]).await;
        assert!(page.contains("Microsoft accepts Client ID, Tenant ID and federated credential."), "{page}");
        assert!(journey.slot(Slot::Current).await.unwrap().renewed_at.is_some());
        journey.world.services.store.close().await;
    }
}

/// Without a secret the pages agree as well, when Microsoft stops knowing what is used instead, and when it knows it again.
#[tokio::test(flavor = "multi_thread")]
async fn pages_agree_when_a_certificate_or_federated_credential_stops_working() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    let state = async || shown(&journey.world, &journey.admin).await;
    let pem = journey.certificate().await;
    journey.upload(&pem);
    journey.save(&[("credential", "certificate")]).await;
    assert!(journey.renews().await);
    assert_eq!(state().await.0, "works");
    journey.world.sandbox.world().app.certificates.clear();
    assert!(!journey.renews().await);
    let (stopped, title) = state().await;
    assert_eq!(stopped, "stopped");
    assert_eq!(title.replace("&#x27;", "'"), "Microsoft does not accept this server's signature.");
    journey.upload(&pem);
    assert!(journey.renews().await);
    assert_eq!(state().await.0, "works");
    let right = journey.federated().await;
    journey.world.sandbox.world().app.federated.push(right.clone());
    journey.save(&[("credential", "federated")]).await;
    assert!(journey.renews().await);
    assert_eq!(state().await.0, "works");
    journey.world.sandbox.world().app.federated.clear();
    assert!(!journey.renews().await);
    let (stopped, title) = state().await;
    assert_eq!(stopped, "stopped");
    assert!(title.contains("federated credential"), "{title}");
    journey.world.sandbox.world().app.federated.push(right);
    assert!(journey.renews().await);
    assert_eq!(state().await.0, "works");
    journey.world.services.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_federated_credential_must_match() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    let right = journey.federated().await;
    let of = |change: fn(&mut Federated)| {
        let mut wrong = right.clone();
        change(&mut wrong);
        wrong
    };
    for wrong in [
        of(|wrong| wrong.issuer.push('/')),
        of(|wrong| wrong.subject.push('x')),
        of(|wrong| wrong.subject = wrong.subject.to_uppercase()),
        of(|wrong| wrong.audience = "api://AzureADTokenExchangeUSGov".into()),
    ] {
        journey.world.sandbox.world().app.federated = vec![wrong.clone()];
        let page = journey.save(&[("credential", "federated")]).await;
        assert!(page.contains("know the federated credential yet"), "{wrong:?}: {page}");
        assert_eq!(journey.slot(Slot::Current).await.unwrap().credential, CredentialKind::Secret);
        journey.post("discard_waiting", &[]).await;
    }
    // Another institution of this server is another issuer and subject.
    journey.world.sandbox.world().app.federated = vec![right];
    let cloud = journey.cloud();
    let institution = journey.world.services.store.institution_by_slug("second").await.unwrap().unwrap().id;
    let proof = journey.world.services.app_credentials.federated(institution, &cloud).await.unwrap();
    let credentials = journey.with(proof).await;
    let refused = journey.world.services.entra.probe(&credentials).await.expect_err("the other institution is refused");
    assert_eq!(refused.codes(), [700_211]);
    // What this institution signs is good for minutes.
    let own = journey.world.services.app_credentials.federated(journey.seat.institution, &cloud).await.unwrap();
    let credentials = journey.with(own).await;
    assert!(journey.world.services.entra.probe(&credentials).await.is_ok());
    journey.world.sandbox.world().clock_ahead = 24 * 60 * 60;
    let refused = journey.world.services.entra.probe(&credentials).await.expect_err("it has expired");
    assert_eq!(refused.codes(), [700_024]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_microsoft_cannot_fetch_or_does_not_know_are_told() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    let right = journey.federated().await;
    journey.world.sandbox.world().app.federated.push(right);
    let page = journey.save(&[("credential", "federated")]).await;
    assert!(page.contains("Microsoft accepted the credentials."), "{page}");
    assert!(journey.renews().await);
    // A key that is not published any more.
    let store = &journey.world.services.store;
    let keys = store.signing_keys(journey.seat.institution, KeyPurpose::Issuer).await.unwrap();
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    sqlx::query("UPDATE signing_keys SET public_part = '{}' WHERE id = $1")
        .bind(keys[0].id.to_string())
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(!journey.renews().await);
    let page = journey.page(CONFIG).await;
    assert!(page.contains("data-email-state=\"stopped\"") && page.contains("does not accept this server"), "{page}");
    // The institution's address answers with something else.
    sqlx::query("UPDATE institutions SET slug = 'moved' WHERE slug = 'demo'").execute(&mut connection).await.unwrap();
    let proof =
        journey.world.services.app_credentials.federated(journey.seat.institution, &journey.cloud()).await.unwrap();
    let server::identity::Proof::Federated { key, key_id, .. } = proof else { panic!() };
    let proof = server::identity::Proof::Federated {
        key,
        key_id,
        issuer: journey.world.url("demo", "").trim_end_matches('/').to_owned(),
        subject: "entrepost:demo".into(),
        audience: "api://AzureADTokenExchange".into(),
    };
    let credentials = journey.with(proof).await;
    let refused = journey.world.services.entra.probe(&credentials).await.expect_err("it cannot be fetched");
    assert_eq!(refused.codes(), [50166]);
    assert_eq!(server::diagnosis::Fault::identity(&refused, journey.clock.now()).cause, "issuer_unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_changes_its_key_without_a_gap() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    let right = journey.federated().await;
    journey.world.sandbox.world().app.federated.push(right);
    journey.save(&[("credential", "federated")]).await;
    let keys = async || {
        let answer = journey.world.services.app_credentials.key_set(journey.seat.institution).await.unwrap();
        answer.keys.iter().filter_map(|key| key.common.key_id.clone()).collect::<Vec<_>>()
    };
    let signs = async || match journey
        .world
        .services
        .app_credentials
        .federated(journey.seat.institution, &journey.cloud())
        .await
        .unwrap()
    {
        server::identity::Proof::Federated { key_id, .. } => key_id,
        _ => panic!(),
    };
    let first = signs().await;
    let mut seen = vec![first.clone()];
    for day in 1..=100 {
        journey.advance(1);
        journey.world.services.sweep_hourly().await.unwrap();
        let (published, signing) = (keys().await, signs().await);
        assert!(published.contains(&signing), "day {day}: what signs is published");
        assert!(published.len() <= 2, "day {day}");
        if *seen.last().unwrap() != signing {
            seen.push(signing.clone());
        }
        assert!(journey.renews().await, "day {day}");
    }
    assert_eq!(seen.len(), 2, "one change in 100 days");
    assert!(!keys().await.contains(&first), "the first is gone");
    journey.admin.sign_in(&journey.world, "demo", "admin@demo.example").await;
    let log = journey.page("/institution/audit").await;
    for noted in ["Key of the federated credential made", "Key of the federated credential removed"] {
        assert!(log.contains(noted), "{noted}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_followed_by_the_next_in_time() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    let pem = journey.certificate().await;
    journey.upload(&pem);
    journey.save(&[("credential", "certificate"), ("reminder_address", "it@outside.example")]).await;
    assert!(journey.renews().await);
    let used = journey.slot(Slot::Current).await.unwrap();
    let keys = async || journey.world.services.app_credentials.certificates(journey.seat.institution).await.unwrap();
    journey.advance(669);
    journey.world.services.sweep_hourly().await.unwrap();
    assert_eq!(keys().await.len(), 1, "61 days before it ends");
    journey.advance(2);
    journey.world.services.sweep_hourly().await.unwrap();
    let next = keys().await;
    assert_eq!(next.len(), 2);
    journey.admin.sign_in(&journey.world, "demo", "admin@demo.example").await;
    let log = journey.page("/institution/audit").await;
    let made = log.split("<tbody").nth(1).unwrap().split("</tbody").next().unwrap().matches("Certificate made").count();
    assert_eq!(made, 1, "the entry of the first is no longer kept: {log}");
    assert_eq!(journey.slot(Slot::Current).await.unwrap().credential_id, used.credential_id, "not uploaded yet");
    // Everyone who must know is told, the named address too.
    journey.world.services.sweep_once().await.unwrap();
    journey.world.until(async || journey.world.services.outbox.run_once().await.unwrap() == 0).await;
    for whom in ["admin@demo.example", "it@outside.example"] {
        let world = journey.world.sandbox.world();
        let is_told = |raw: &[u8]| {
            let text = String::from_utf8_lossy(raw);
            text.contains("Subject: The certificate expires in") && text.contains(whom)
        };
        assert_eq!(world.mails().iter().filter(|(.., mail)| is_told(&mail.raw)).count(), 1, "{whom}");
    }
    let id = next[0].id.to_string();
    journey.admin.sign_in(&journey.world, "demo", "admin@demo.example").await;
    journey.upload(&journey.download(&id).await);
    journey.world.services.sweep_hourly().await.unwrap();
    let now_used = journey.slot(Slot::Current).await.unwrap();
    assert_eq!(now_used.credential_id, Some(next[0].id));
    assert!(journey.slot(Slot::Previous).await.is_some());
    // The old one is removed at Microsoft only after the new one renewed mail.
    assert!(journey.renews().await);
    assert!(journey.slot(Slot::Previous).await.is_none());
    let page = journey.page(CONFIG).await;
    assert!(page.contains("Delete the old certificate at Microsoft"), "{page}");
    let log = journey.page("/institution/audit").await;
    assert!(log.contains("Credential changed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_secret_helps_until_the_new_one_renews_mail() {
    for database in Database::both().await {
        let journey = Journey::start(&database).await;
        assert!(journey.renews().await);
        let old = journey.world.sandbox.world().app.secret_value.clone();
        journey.world.sandbox.world().app.spreading_secrets.push("new~secret~of~tomorrow".into());
        let list = r#"[{"displayName": "n", "endDateTime": "2027-11-27T10:00:00Z", "hint": "new", "keyId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}]"#;
        let page = journey.save(&[("client_secret", "new~secret~of~tomorrow"), ("secret_list", list)]).await;
        assert!(page.contains("The new secret is in use, but has not renewed a mailbox yet"), "{page}");
        assert!(page.contains("The one before is kept until then."), "{page}");
        let current = journey.slot(Slot::Current).await.unwrap();
        assert_eq!(current.secret_expires_on.as_deref(), Some("2027-11-27"));
        assert_eq!(current.secret_id.as_deref(), Some("7c9e6679-7425-40de-944b-e07fc1f90ae7"));
        // Not known everywhere yet: mail goes on with the old one, and nothing is called stopped.
        assert!(journey.renews().await);
        assert!(journey.slot(Slot::Previous).await.is_some());
        assert!(journey.page(CONFIG).await.contains("data-email-state=\"works\""));
        // Another mistake now does not push out what works.
        let page = journey.save(&[("client_secret", "wrong")]).await;
        assert!(page.contains("The Client Secret is wrong."), "{page}");
        assert!(journey.renews().await);
        {
            let mut world = journey.world.sandbox.world();
            world.app.secret_value = "new~secret~of~tomorrow".into();
            world.app.spreading_secrets.clear();
        }
        assert!(journey.renews().await);
        assert!(journey.slot(Slot::Previous).await.is_none(), "the old secret is forgotten");
        let page = journey.page(CONFIG).await;
        assert!(page.contains("Delete the old Client Secret at Microsoft"), "{page}");
        assert!(!page.contains(&old) && !page.contains("new~secret"), "{page}");
        // The next one: now the Secret ID of the one before is known.
        journey.world.sandbox.world().app.secret_value = "third~secret".into();
        journey.save(&[("client_secret", "third~secret"), ("secret_lifetime", "180")]).await;
        assert!(journey.renews().await);
        let page = journey.page(CONFIG).await;
        assert!(page.contains("7c9e6679-7425-40de-944b-e07fc1f90ae7"), "{page}");
        assert!(
            page.contains("expires in 180 days")
                || journey.slot(Slot::Current).await.unwrap().secret_expires_on.is_some()
        );
        let mailbox = journey.world.services.store.mailbox(journey.seat.key()).await.unwrap().unwrap();
        assert_eq!(mailbox.state, MailboxState::Connected);
        journey.world.services.store.close().await;
    }
}

/// A new secret may take up to an hour to be known everywhere; after that its refusal is what it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_signs_no_one_in_is_called_wrong_after_an_hour() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    assert!(journey.renews().await);
    journey.world.sandbox.world().app.spreading_secrets.push("new~secret~of~tomorrow".into());
    journey.save(&[("client_secret", "new~secret~of~tomorrow")]).await;
    let state_after_a_sign_in = async || {
        let person = Browser::new(&journey.world);
        person.sign_in(&journey.world, "demo", USER).await;
        let begun = person.post(&journey.world.url("demo", "/api/configure_and_test"), &[("email", USER)]).await;
        let back = person.at_microsoft(&journey.world, &location(&begun), USER).await;
        complete(&person, &journey.world, "demo", &back).await;
        shown(&journey.world, &journey.admin).await
    };
    assert_eq!(state_after_a_sign_in().await.0, "works");
    journey.clock.advance_ms(59 * 60 * 1000);
    assert_eq!(state_after_a_sign_in().await.0, "works");
    journey.clock.advance_ms(60 * 1000);
    let (state, title) = state_after_a_sign_in().await;
    assert_eq!((state.as_str(), title.as_str()), ("stopped", "The Client Secret is wrong."));
}

/// Programs on one database find the same certificate and key due at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn two_programs_make_one_certificate_and_one_key() {
    for database in Database::both().await {
        let journey = Journey::start(&database).await;
        let pem = journey.certificate().await;
        journey.upload(&pem);
        // Its first key is made when it is first used.
        let (services, cloud) = (&journey.world.services, journey.cloud());
        services.app_credentials.federated(journey.seat.institution, &cloud).await.unwrap();
        journey.save(&[("credential", "certificate")]).await;
        assert!(journey.renews().await);
        journey.advance(671);
        let other = journey.world.replica_at(journey.clock.clone()).await;
        let (one, two) = tokio::join!(services.sweep_hourly(), other.sweep_hourly());
        assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
        for purpose in [KeyPurpose::Certificate, KeyPurpose::Issuer] {
            let keys = services.store.signing_keys(journey.seat.institution, purpose).await.unwrap();
            assert_eq!(keys.len(), 2, "{purpose:?}: the one before and the next");
        }
        other.store.close().await;
        services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_certificates_the_one_that_microsoft_knows_is_used() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    let first = journey.certificate().await;
    journey.clock.advance_ms(1_000);
    journey.admin.post(&journey.world.url("demo", "/api/make_certificate"), &[]).await;
    journey.upload(&first);
    journey.world.sandbox.world().faults.token_error = 90055;
    let page = journey.save(&[("credential", "certificate")]).await;
    assert!(page.contains("Microsoft accepted the credentials."), "the newest is not uploaded: {page}");
    let proved = "Not proved yet: signing people in and renewing their mailboxes. The one before is kept until then.";
    assert!(page.contains(proved), "{page}");
    let keys = journey.world.services.app_credentials.certificates(journey.seat.institution).await.unwrap();
    assert_eq!(journey.slot(Slot::Current).await.unwrap().credential_id, Some(keys[1].id));
    // The secret before is not kept when everything is removed.
    assert!(journey.slot(Slot::Previous).await.is_some());
    let more = [("credential", "certificate"), ("secret_change", "remove"), ("confirm_disconnect", "yes")];
    journey.save(&more).await;
    for slot in [Slot::Current, Slot::Waiting, Slot::Previous] {
        assert!(journey.slot(slot).await.is_none(), "{slot:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_list_of_secrets_is_read_or_refused() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    let secret = journey.world.sandbox.world().app.secret_value.clone();
    for (list, said) in [
        ("not json", "This is not the list that the command prints."),
        ("[]", "The list has no secret that begins like this one."),
        (
            r#"[{"hint": "zzz", "endDateTime": "2027-01-01T00:00:00Z"}]"#,
            "The list has no secret that begins like this one.",
        ),
    ] {
        let page = journey.save(&[("client_secret", secret.as_str()), ("secret_list", list)]).await;
        assert!(page.contains(said), "{list}: {page}");
    }
    // Kept with the stored secret, too.
    let list = format!(r#"[{{"hint": "{}", "endDateTime": "2027-03-04T05:06:07Z", "keyId": "x"}}]"#, &secret[..3]);
    journey.save(&[("secret_list", list.as_str())]).await;
    assert_eq!(journey.slot(Slot::Current).await.unwrap().secret_expires_on.as_deref(), Some("2027-03-04"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_belong_to_their_institution_and_one_in_use_is_not_removed() {
    let database = Database::sqlite();
    let journey = Journey::start(&database).await;
    let pem = journey.certificate().await;
    journey.upload(&pem);
    journey.save(&[("credential", "certificate")]).await;
    let keys = journey.world.services.app_credentials.certificates(journey.seat.institution).await.unwrap();
    let id = keys[0].id.to_string();
    let page = journey.post("drop_certificate", &[("id", &id)]).await;
    assert!(page.contains("This certificate is in use."), "{page}");
    let other = Browser::new(&journey.world);
    other.sign_in(&journey.world, "second", "admin@demo.example").await;
    let path = format!("{CREDENTIALS}/certificate/{id}");
    assert_eq!(other.get(&journey.world.url("second", &path)).await.status(), 404);
    other.post(&journey.world.url("second", "/api/drop_certificate"), &[("id", &id)]).await;
    let user = Browser::new(&journey.world);
    user.sign_in(&journey.world, "demo", USER).await;
    assert_eq!(user.get(&journey.world.url("demo", &path)).await.status(), 403);
    assert_eq!(journey.world.services.app_credentials.certificates(journey.seat.institution).await.unwrap().len(), 1);
    // Sealed: the database holds no private key in the clear.
    assert!(!keys[0].key_sealed.contains("PRIVATE") && keys[0].key_sealed.starts_with("v1."));
    let services = Arc::clone(&journey.world.services);
    for _ in 0..6 {
        journey.admin.post(&journey.world.url("demo", "/api/make_certificate"), &[]).await;
    }
    assert_eq!(services.app_credentials.certificates(journey.seat.institution).await.unwrap().len(), 5, "bounded");
}
