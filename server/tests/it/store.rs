//! The store on SQLite and PostgreSQL: same steps, same results.

use crate::common::Database;
use app::model::{
    AttemptId, AttemptKind, CheckKind, CheckStatus, ClientId, InstitutionId, MailboxId, MailboxState, Outcome,
    Provider, RegistrationId, Role, SessionId, Stage, TenantId, Timestamp, UserId,
};
use server::clock::Clock;
use server::diagnosis::Fault;
use server::store::{
    Check, EmailSettings, InstitutionRow, MailboxKey, NewAttempt, NewInvitation, NewMailbox, NewSignIn, Page,
    Registration, Resting, Slot, Store, User,
};

pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub struct Seed {
    pub store: Store,
    pub clock: Clock,
    pub one: InstitutionId,
    pub two: InstitutionId,
    pub user: UserId,
}

pub async fn seed(database: &Database) -> Seed {
    let (store, clock) = (
        Store::open(&database.url, server::config::DiskSpace { reserve: 0, limit: None }).await.unwrap(),
        Clock::system(),
    );
    let (one, two, user) = (InstitutionId(clock.uuid()), InstitutionId(clock.uuid()), UserId(clock.uuid()));
    let mut tx = store.begin().await.unwrap();
    for (id, slug) in [(one, "one"), (two, "two")] {
        store
            .add_institution(&mut tx, &InstitutionRow { id, slug: slug.into(), name: slug.into() }, NOW)
            .await
            .unwrap();
    }
    let new = User {
        id: user,
        address: "User@demo.example".into(),
        role: Role::Administrator,
        password_hash: Some("hash".into()),
        linked: false,
        disabled_at: None,
        name: String::new(),
        last_sign_in_at: None,
    };
    store.add_user(&mut tx, one, &new, NOW).await.unwrap();
    tx.commit().await.unwrap();
    Seed { store, clock, one, two, user }
}

pub fn mailbox(seed: &Seed, user: UserId) -> NewMailbox {
    NewMailbox {
        id: MailboxId(seed.clock.uuid()),
        user,
        kind: AttemptKind::Personal,
        address: "user@demo.example".into(),
        sign_in_name: "upn@demo.example".into(),
        subject: "oid@tid".into(),
        app: server::store::AppKey { client_id: "c".into(), tenant_id: "t".into(), cloud: String::new() },
        refresh_token_sealed: "sealed".into(),
        next_test_at: NOW.plus_ms(1000),
    }
}

fn attempt(seed: &Seed, state: &str) -> NewAttempt {
    NewAttempt {
        id: AttemptId(seed.clock.uuid()),
        user: seed.user,
        kind: AttemptKind::Personal,
        stage: Stage::SigningIn,
        address: "user@demo.example".into(),
        automatic: false,
        app: server::store::AppKey { client_id: "c".into(), tenant_id: "t".into(), cloud: String::new() },
        sign_in: Some(NewSignIn {
            state_sha256: state.into(),
            browser_sha256: "browser".into(),
            verifier_sealed: "v".into(),
            nonce_sealed: "n".into(),
        }),
        mailbox: None,
        callback_expires_at: NOW.plus_ms(600_000),
    }
}

#[tokio::test]
async fn addresses_are_unique_without_case_and_only_within_an_institution() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let again = User {
            id: UserId(seed.clock.uuid()),
            address: "USER@demo.example".into(),
            role: Role::User,
            password_hash: None,
            linked: false,
            disabled_at: None,
            name: String::new(),
            last_sign_in_at: None,
        };
        let mut tx = seed.store.begin().await.unwrap();
        assert!(seed.store.add_user(&mut tx, seed.one, &again, NOW).await.unwrap_err().is_duplicate());
        drop(tx);
        let mut tx = seed.store.begin().await.unwrap();
        seed.store.add_user(&mut tx, seed.two, &again, NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(seed.store.user_by_address(seed.one, " user@DEMO.example ").await.unwrap().unwrap().id, seed.user);
        assert!(seed.store.user(seed.two, seed.user).await.unwrap().is_none(), "not from another institution");
    }
}

#[tokio::test]
async fn sessions_belong_to_an_institution() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let mut tx = seed.store.begin().await.unwrap();
        seed.store.add_session(&mut tx, seed.one, seed.user, SessionId(seed.clock.uuid()), "token", NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert!(seed.store.session(seed.one, "token").await.unwrap().is_some());
        assert!(seed.store.session(seed.two, "token").await.unwrap().is_none());
        let mut tx = seed.store.begin().await.unwrap();
        seed.store.end_sessions_of(&mut tx, seed.two, seed.user).await.unwrap();
        tx.commit().await.unwrap();
        assert!(seed.store.session(seed.one, "token").await.unwrap().is_some());
        seed.store.sweep(NOW.plus_ms(1), NOW.plus_ms(1), NOW, NOW).await.unwrap();
        assert!(seed.store.session(seed.one, "token").await.unwrap().is_none(), "swept");
    }
}

#[tokio::test]
async fn an_invitation_is_used_once() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let mut tx = seed.store.begin().await.unwrap();
        let invitation = |token_sha256| {
            let (id, user) = (seed.clock.uuid(), seed.user);
            NewInvitation { id, user, token_sha256, created_at: NOW, expires_at: NOW.plus_ms(10) }
        };
        seed.store.put_invitation(&mut tx, seed.one, &invitation("old")).await.unwrap();
        seed.store.put_invitation(&mut tx, seed.one, &invitation("new")).await.unwrap();
        tx.commit().await.unwrap();
        assert!(seed.store.invitation(seed.one, "old").await.unwrap().is_none(), "a newer link replaces it");
        assert!(seed.store.invitation(seed.two, "new").await.unwrap().is_none());
        let mut tx = seed.store.begin().await.unwrap();
        assert!(!seed.store.use_invitation(&mut tx, seed.two, "new").await.unwrap());
        assert!(seed.store.use_invitation(&mut tx, seed.one, "new").await.unwrap());
        assert!(!seed.store.use_invitation(&mut tx, seed.one, "new").await.unwrap());
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_form_answer_is_shown_once_and_only_to_its_owner() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let later = NOW.plus_ms(1000);
        seed.store.put_flash(seed.one, Some(seed.user), "t", "body", later).await.unwrap();
        assert_eq!(seed.store.take_flash(seed.two, Some(seed.user), "t", NOW).await.unwrap(), None);
        assert_eq!(seed.store.take_flash(seed.one, Some(seed.user), "t", NOW).await.unwrap().as_deref(), Some("body"));
        assert_eq!(seed.store.take_flash(seed.one, Some(seed.user), "t", NOW).await.unwrap(), None);
        seed.store.put_flash(seed.one, Some(seed.user), "t", "body", later).await.unwrap();
        assert_eq!(seed.store.take_flash(seed.one, None, "t", NOW).await.unwrap(), None, "not to somebody else");
        seed.store.put_flash(seed.one, None, "t", "body", NOW.plus_ms(-1)).await.unwrap();
        assert_eq!(seed.store.take_flash(seed.one, None, "t", NOW).await.unwrap(), None, "not after its time");
    }
}

#[tokio::test]
async fn failed_sign_ins_are_counted_in_a_window() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        for wanted in 1..=3 {
            let (tries, began) =
                seed.store.count_sign_in("account:x", NOW.plus_ms(wanted), NOW.plus_ms(-1000)).await.unwrap();
            assert_eq!((tries, began), (wanted, NOW.plus_ms(1)));
        }
        let (tries, _) = seed.store.count_sign_in("account:x", NOW.plus_ms(5000), NOW.plus_ms(4000)).await.unwrap();
        assert_eq!(tries, 1, "a new window");
        seed.store.uncount_sign_in("account:x").await.unwrap();
        assert_eq!(
            seed.store.count_sign_in("account:x", NOW.plus_ms(5000), NOW.plus_ms(4000)).await.unwrap().0,
            1,
            "a success is no failure"
        );
        seed.store.clear_sign_in("account:x").await.unwrap();
        assert_eq!(seed.store.count_sign_in("account:x", NOW, NOW.plus_ms(-1)).await.unwrap().0, 1);
    }
}

#[tokio::test]
async fn the_last_administrator_is_counted_right() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let mut tx = seed.store.begin().await.unwrap();
        assert_eq!(seed.store.other_administrators(&mut tx, seed.one, seed.user).await.unwrap(), 0);
        let other = User {
            id: UserId(seed.clock.uuid()),
            address: "b@demo.example".into(),
            role: Role::Administrator,
            password_hash: None,
            linked: false,
            disabled_at: None,
            name: String::new(),
            last_sign_in_at: None,
        };
        seed.store.add_user(&mut tx, seed.one, &other, NOW).await.unwrap();
        assert_eq!(
            seed.store.other_administrators(&mut tx, seed.one, seed.user).await.unwrap(),
            0,
            "who never signed in does not count"
        );
        seed.store.set_password(&mut tx, seed.one, other.id, "hash").await.unwrap();
        assert_eq!(seed.store.other_administrators(&mut tx, seed.one, seed.user).await.unwrap(), 1);
        seed.store.set_disabled(&mut tx, seed.one, other.id, Some(NOW)).await.unwrap();
        assert_eq!(seed.store.other_administrators(&mut tx, seed.one, seed.user).await.unwrap(), 0);
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn settings_and_registrations_are_replaced_whole() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        assert_eq!(seed.store.email_settings(seed.one).await.unwrap().provider, Provider::SystemDefault);
        let settings = EmailSettings {
            provider: Provider::ExchangeOnline,
            custom_from: true,
            custom_from_address: "a@b.example".into(),
            allow_other_address: true,
            ..EmailSettings::default()
        };
        let (client_id, tenant_id) = (ClientId(seed.clock.uuid()), TenantId(seed.clock.uuid()));
        let registration = Registration {
            secret_sealed: "sealed".into(),
            secret_expires_on: Some("2030-01-01".into()),
            ..Registration::new(RegistrationId(seed.clock.uuid()), client_id, tenant_id, NOW)
        };
        for _ in 0..2 {
            let mut tx = seed.store.begin().await.unwrap();
            seed.store.put_email_settings(&mut tx, seed.one, &settings, NOW).await.unwrap();
            let new = Registration { id: RegistrationId(seed.clock.uuid()), ..registration.clone() };
            seed.store.put_registration(&mut tx, seed.one, Slot::Current, &new, NOW).await.unwrap();
            tx.commit().await.unwrap();
        }
        let kept = seed.store.email_settings(seed.one).await.unwrap();
        assert!(kept.custom_from && kept.allow_other_address && kept.provider == Provider::ExchangeOnline);
        assert_eq!(
            seed.store.registration(seed.one, Slot::Current).await.unwrap().unwrap().secret_expires_on.as_deref(),
            Some("2030-01-01")
        );
        assert!(seed.store.registration(seed.one, Slot::Waiting).await.unwrap().is_none());
        assert!(seed.store.registration(seed.two, Slot::Current).await.unwrap().is_none());
        assert_eq!(seed.store.sealed_places().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_mailbox_belongs_to_one_person_and_rotation_does_not_overwrite() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let other = User {
            id: UserId(seed.clock.uuid()),
            address: "b@demo.example".into(),
            role: Role::User,
            password_hash: None,
            linked: false,
            disabled_at: None,
            name: String::new(),
            last_sign_in_at: None,
        };
        let mut tx = seed.store.begin().await.unwrap();
        seed.store.add_user(&mut tx, seed.one, &other, NOW).await.unwrap();
        let id = seed.store.put_mailbox(&mut tx, seed.one, &mailbox(&seed, seed.user), NOW).await.unwrap().unwrap();
        assert_eq!(
            seed.store.put_mailbox(&mut tx, seed.one, &mailbox(&seed, other.id), NOW).await.unwrap(),
            None,
            "taken"
        );
        assert_eq!(
            seed.store.put_mailbox(&mut tx, seed.one, &mailbox(&seed, seed.user), NOW).await.unwrap(),
            Some(id),
            "connected again"
        );
        assert!(
            seed.store.rotate_grant(&mut tx, MailboxKey { institution: seed.one, id }, "second", 1, NOW).await.unwrap()
        );
        assert!(
            !seed.store.rotate_grant(&mut tx, MailboxKey { institution: seed.one, id }, "late", 1, NOW).await.unwrap(),
            "somebody was faster"
        );
        assert!(
            !seed
                .store
                .rotate_grant(&mut tx, MailboxKey { institution: seed.two, id }, "foreign", 2, NOW)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
        let kept = seed.store.mailbox(MailboxKey { institution: seed.one, id }).await.unwrap().unwrap();
        assert_eq!(
            (kept.refresh_token_sealed.as_str(), kept.grant_version, kept.state),
            ("second", 2, MailboxState::Blocked)
        );
        assert!(seed.store.mailbox(MailboxKey { institution: seed.two, id }).await.unwrap().is_none());
        assert_eq!(seed.store.people_connected(seed.one).await.unwrap(), 1);

        seed.store
            .set_mailbox_state(
                MailboxKey { institution: seed.one, id },
                MailboxState::Blocked,
                Some(&Fault::new("unknown", NOW, &[])),
                Some(NOW),
                NOW,
            )
            .await
            .unwrap();
        assert_eq!(seed.store.claim_due_tests(NOW, NOW.plus_ms(1000), 5).await.unwrap().len(), 1);
        assert_eq!(seed.store.claim_due_tests(NOW, NOW.plus_ms(1000), 5).await.unwrap().len(), 0, "one claim each");

        let mut tx = seed.store.begin().await.unwrap();
        seed.store.end_connections(&mut tx, seed.one, &Fault::new("unknown", NOW, &[]), NOW).await.unwrap();
        tx.commit().await.unwrap();
        let ended = seed.store.mailbox(MailboxKey { institution: seed.one, id }).await.unwrap().unwrap();
        assert_eq!((ended.refresh_token_sealed.as_str(), ended.state), ("", MailboxState::NeedsReconnect));
        assert_eq!(seed.store.people_connected(seed.one).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_state_works_once_and_a_run_is_leased_once() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let new = attempt(&seed, "state");
        let mut tx = seed.store.begin().await.unwrap();
        seed.store.add_attempt(&mut tx, seed.one, &new, NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert!(seed.store.take_state(seed.two, "state").await.unwrap().is_none(), "not in another institution");
        assert!(seed.store.take_state(seed.one, "state").await.unwrap().is_some());
        assert!(seed.store.take_state(seed.one, "state").await.unwrap().is_none(), "once");

        assert!(!seed.store.lease_attempt(seed.one, new.id, NOW).await.unwrap(), "not ready yet");
        let rest = Resting {
            stage: Stage::Ready,
            address: "user@demo.example".into(),
            prove_address: false,
            sign_in_name: "upn".into(),
            subject: "s".into(),
            grant_sealed: None,
            grant_expires_at: None,
            mailbox: None,
        };
        let mut tx = seed.store.begin().await.unwrap();
        assert!(seed.store.rest_attempt(&mut tx, seed.one, new.id, &rest).await.unwrap());
        tx.commit().await.unwrap();
        let resting = seed.store.attempt(seed.one, new.id).await.unwrap().unwrap();
        assert!(resting.verifier_sealed.is_none() && resting.nonce_sealed.is_none(), "used secrets are forgotten");
        assert!(seed.store.lease_attempt(seed.one, new.id, NOW.plus_ms(10)).await.unwrap());
        assert!(!seed.store.lease_attempt(seed.one, new.id, NOW.plus_ms(10)).await.unwrap(), "one run");

        let check = Check {
            kind: CheckKind::Smtp,
            status: CheckStatus::Passed,
            detail: "ok".into(),
            duration_ms: Some(5),
            fault: None,
        };
        seed.store.put_check(seed.two, new.id, &Check { detail: "foreign".into(), ..check.clone() }).await.unwrap();
        seed.store.put_check(seed.one, new.id, &check).await.unwrap();
        let checks = seed.store.checks(seed.one, new.id).await.unwrap();
        assert_eq!(checks.len(), 7);
        assert_eq!(checks.iter().find(|one| one.kind == CheckKind::Smtp), Some(&check));
        assert!(seed.store.checks(seed.two, new.id).await.unwrap().is_empty());

        seed.store.sweep_attempts(NOW.plus_ms(11)).await.unwrap();
        assert_eq!(
            seed.store.attempt(seed.one, new.id).await.unwrap().unwrap().outcome,
            Outcome::Abandoned,
            "a dead run is ended"
        );
    }
}

#[tokio::test]
async fn expired_sign_ins_are_ended_and_old_attempts_forgotten() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        for at in 0..205 {
            let new = attempt(&seed, &format!("state {at}"));
            let mut tx = seed.store.begin().await.unwrap();
            seed.store.add_attempt(&mut tx, seed.one, &new, NOW.plus_ms(at)).await.unwrap();
            tx.commit().await.unwrap();
        }
        seed.store.sweep_attempts(NOW.plus_ms(700_000)).await.unwrap();
        assert!(seed.store.take_state(seed.one, "state 204").await.unwrap().is_none(), "expired");
        assert!(seed.store.take_state(seed.one, "state 0").await.unwrap().is_none());
        let newest = seed.store.attempts_of(seed.one, seed.user, Page::newest(100)).await.unwrap();
        assert_eq!(newest.len(), 100, "a person's own are kept, the newest are listed");
        assert!(newest.iter().all(|one| one.stage == Stage::Finished && one.verifier_sealed.is_none()));
        let last = newest.last().unwrap().created_at;
        let earlier = seed.store.attempts_of(seed.one, seed.user, Page { before: last, limit: 200 }).await.unwrap();
        assert_eq!(earlier.len(), 105, "page by page, all of them are there");
        assert!(earlier.iter().all(|one| one.created_at < last));
    }
}
