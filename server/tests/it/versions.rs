//! The version of each user's mail: raised by what they see, and by nothing else, on SQLite and PostgreSQL.

use app::model::{DeliveryId, DeliveryState, FolderRole, HeaderView, MailboxState, RecipientKind, Role, UserId};
use server::config::Throttle;
use server::diagnosis::Fault;
use server::store::{
    Author, Claim, DataStart, FlagChange, FolderChange, FolderRow, MailboxKey, NewDelivery, Record, SendQueue, Tx, User,
};

use crate::common::{Database, claim_one, record_of_one};
use crate::store::{NOW, Seed, mailbox, seed};

const LIMITS: Throttle = Throttle { connections: 3, messages_per_minute: 30, recipients_per_day: 1_000 };

fn delivery(seed: &Seed, user: UserId) -> NewDelivery {
    let id = DeliveryId(seed.clock.uuid());
    NewDelivery {
        id,
        author: Author::Person(user),
        idempotency_key: id.to_string(),
        message_id: format!("<{id}@demo.example>"),
        from: "user@demo.example".into(),
        subject: "Subject".into(),
        body_sealed: "sealed".into(),
        form_sealed: String::new(),
        recipients: vec![(RecipientKind::To, "other@demo.example".into())],
    }
}

fn header(uid: u32) -> HeaderView {
    HeaderView {
        uid,
        from: "Kai".into(),
        from_address: "kai@far.example".into(),
        recipients: String::new(),
        subject: "Subject".into(),
        received_at: NOW,
        size: 9,
        seen: false,
        flagged: false,
        answered: false,
        attachments: false,
    }
}

#[tokio::test]
async fn what_a_user_sees_raises_the_version_and_a_sync_without_news_does_not() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let store = &seed.store;
        let mut last = String::new();
        let mut rises = async |what: &str, expected: bool| {
            let now = store.mail_version(seed.one, seed.user).await.unwrap();
            assert_eq!(now != last, expected, "{what}");
            last = now;
        };
        rises("the first look", true).await;
        let mut tx = store.begin().await.unwrap();
        let id = store.put_mailbox(&mut tx, seed.one, &mailbox(&seed, seed.user), NOW).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        rises("a mailbox", true).await;
        let key = MailboxKey { institution: seed.one, id };
        store.set_mailbox_state(key, MailboxState::Connected, None, None, NOW).await.unwrap();
        rises("its state", true).await;

        let folders = [("INBOX", FolderRole::Inbox), ("Sent", FolderRole::Sent)]
            .map(|(name, role)| server::mail::imap::Folder { name: name.into(), role, selectable: true });
        for expected in [true, false] {
            store.put_folders(key, &folders).await.unwrap();
            rises("the list of folders", expected).await;
        }
        let mut inbox = FolderRow {
            name: "INBOX".into(),
            role: FolderRole::Inbox,
            uid_validity: 1,
            total: 0,
            synced_at: Some(NOW),
            problem: None,
        };
        for expected in [true, false] {
            inbox.synced_at = inbox.synced_at.map(|at| at.plus_ms(1_000));
            store.sync_folder(key, &inbox, &FolderChange::default()).await.unwrap();
            rises("an empty folder", expected).await;
        }
        for expected in [true, false] {
            inbox.synced_at = inbox.synced_at.map(|at| at.plus_ms(1_000));
            inbox.problem = Some(Fault::new("no_room", inbox.synced_at.unwrap(), &[]));
            store.sync_folder(key, &inbox, &FolderChange::default()).await.unwrap();
            rises("a problem that stays", expected).await;
        }
        inbox.problem = None;
        let change = FolderChange { new: vec![header(1)], ..FolderChange::default() };
        store.sync_folder(key, &FolderRow { total: 1, ..inbox.clone() }, &change).await.unwrap();
        rises("a message", true).await;
        let as_read = FlagChange { seen: Some(true), ..FlagChange::default() };
        store.note_flags(key, "INBOX", &[1], as_read).await.unwrap();
        rises("a flag", true).await;

        let (queue, new) = (SendQueue::of_mailbox(key), delivery(&seed, seed.user));
        let mut tx = store.begin().await.unwrap();
        assert!(store.enqueue(&mut tx, &queue, &new, NOW).await.unwrap());
        drop(tx);
        rises("a transaction that is rolled back", false).await;
        let mut tx = store.begin().await.unwrap();
        assert!(store.enqueue(&mut tx, &queue, &new, NOW).await.unwrap());
        tx.commit().await.unwrap();
        rises("a queued message", true).await;
        let (owner, until) = (seed.clock.uuid(), NOW.plus_ms(60_000));
        let claim = claim_one(store, &queue, owner, until, LIMITS, NOW).await;
        assert!(matches!(claim, Claim::Deliveries { .. }), "{claim:?}");
        rises("sending", true).await;
        assert!(
            store
                .start_data(DataStart {
                    institution: seed.one,
                    delivery: new.id,
                    owner,
                    refused: Vec::new(),
                    again: false
                })
                .await
                .unwrap()
        );
        let record = Record {
            state: DeliveryState::Sent,
            next_attempt_at: NOW,
            answer: String::new(),
            fault: None,
            recipients: Vec::new(),
            counts: true,
        };
        assert!(record_of_one(store, seed.one, new.id, owner, &record, NOW).await);
        rises("sent", true).await;
        assert!(!record_of_one(store, seed.one, new.id, owner, &record, NOW).await);
        rises("a record that comes too late", false).await;
        store.close().await;
    }
}

/// Versions are raised in the order of the users' ids, so that no two transactions wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_change_the_mail_of_the_same_users_do_not_block_each_other() {
    for database in Database::both().await {
        let seed = seed(&database).await;
        let other = User {
            id: UserId(seed.clock.uuid()),
            address: "other@demo.example".into(),
            role: Role::User,
            password_hash: None,
            linked: false,
            disabled_at: None,
            name: String::new(),
            last_sign_in_at: None,
        };
        let mut tx = seed.store.begin().await.unwrap();
        seed.store.add_user(&mut tx, seed.one, &other, NOW).await.unwrap();
        tx.commit().await.unwrap();
        let queue = async |tx: &mut Tx, user: UserId| {
            let new = delivery(&seed, user);
            // Each user has their own queue: only the versions are shared.
            let queue = SendQueue { id: seed.clock.uuid(), institution: seed.one, mailbox: None };
            assert!(seed.store.enqueue(tx, &queue, &new, NOW).await.unwrap());
        };
        let rounds = (0..60).map(async |round| {
            let users = if round % 2 == 0 { [seed.user, other.id] } else { [other.id, seed.user] };
            let mut tx = seed.store.begin().await.unwrap();
            for user in users {
                queue(&mut tx, user).await;
            }
            tx.commit().await.unwrap();
        });
        futures::future::join_all(rounds).await;
        assert_eq!(seed.store.mail_version(seed.one, other.id).await.unwrap(), "60");
        seed.store.close().await;
    }
}
