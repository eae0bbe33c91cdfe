//! Mail health: one row for each cause with its command, and counts by the hour.

use app::model::{EmailAddress, MailCounts, RecipientKind, Role, Timestamp};
use sandbox::SmtpAuthSwitch;
use server::clock::Clock;
use server::service::AddPerson;

use crate::common::{Browser, Database, Seat, World};

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

async fn page(world: &World) -> String {
    let browser = Browser::new(world);
    browser.sign_in(world, "demo", "admin@demo.example").await;
    let answer = browser.get(&world.url("demo", "/institution/mail-health")).await;
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

async fn counts(world: &World, seat: &Seat) -> Vec<(Timestamp, MailCounts)> {
    world.services.store.mail_hours(seat.institution, Timestamp(0)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_messages_is_counted_by_the_hour() {
    for database in Database::both().await {
        let clock = Clock::manual(Timestamp(Clock::system().now().0 / HOUR_MS * HOUR_MS));
        let world = World::start_with(&database, clock.clone(), &[]).await;
        let seat = world.seat("user@demo.example").await;
        world.queue(&seat, 3, "other@demo.example", clock.now()).await;
        let mut tx = world.services.store.begin().await.unwrap();
        let two = ["other@demo.example", "admin@demo.example"].map(|to| (RecipientKind::To, to.to_owned()));
        world.queue_one(&mut tx, &seat, "Two", &two, clock.now()).await;
        for to in ["nobody@demo.example", "later@far.example"] {
            world.queue_one(&mut tx, &seat, "One", &[(RecipientKind::To, to.to_owned())], clock.now()).await;
        }
        tx.commit().await.unwrap();
        world.sandbox.world().faults.greylisted = "later@far.example".to_owned();
        while world.services.outbox.run_once().await.unwrap() > 0 {}
        let first = MailCounts { sent: 4, recipients: 5, deferred: 1, failed: 1, bounced: 0 };
        assert_eq!(counts(&world, &seat).await, [(clock.now(), first)]);
        clock.advance_ms(HOUR_MS);
        world.sandbox.world().faults.greylisted.clear();
        while world.services.outbox.run_once().await.unwrap() > 0 {}
        let second = MailCounts { sent: 1, recipients: 1, ..MailCounts::default() };
        assert_eq!(counts(&world, &seat).await[1], (clock.now(), second));
        let text = page(&world).await;
        assert!(text.contains("5 messages sent to 6 recipients, 1 failed, 0 bounced"), "{text}");
        assert!(
            text.contains("The last 24 hours, by the hour. Sent: 5, Deferred: 1, Failed: 1, Bounced: 0."),
            "{text}"
        );
        // Counts are kept for 90 days.
        clock.advance_ms(91 * DAY_MS);
        world.services.sweep_hourly().await.unwrap();
        assert!(counts(&world, &seat).await.is_empty());
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_mailboxes_of_one_cause_are_one_row_with_one_command() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
        let mut seats = Vec::new();
        for number in 0..5 {
            seats.push(world.newcomer(&format!("m{number}@demo.example")).await);
        }
        let address = EmailAddress::parse("not.yet@demo.example").unwrap();
        let person =
            AddPerson { institution, address: &address, name: "", role: Role::User, password: None, announce: None };
        world.services.add_person(&person).await.unwrap();
        world.sandbox.world().faults.smtp_auth = SmtpAuthSwitch::Mailbox;
        for seat in &seats[..4] {
            world.queue(seat, 1, "other@demo.example", world.clock.now()).await;
        }
        world.services.outbox.run_once().await.unwrap();
        let text = crate::common::without_bdi(&page(&world).await);
        assert!(text.contains("Email works for 1 of 8 people."), "{text}");
        assert_eq!(text.matches("class=\"cause-row\"").count(), 1);
        assert!(text.contains("4 mailboxes") && text.contains("data-cause=\"smtp_auth_mailbox\""));
        let command = "&#x27;m0@demo.example&#x27;,&#x27;m1@demo.example&#x27;,&#x27;m2@demo.example&#x27;,&#x27;m3@demo.example&#x27; | ForEach-Object { Set-CASMailbox -Identity $_ -SmtpClientAuthenticationDisabled $false -ImapEnabled $true }";
        let plain = command.replace("&#x27;", "'");
        assert!(text.contains(command) || text.contains(&plain), "{text}");
        assert!(text.contains("/institution/users?cause=smtp_auth_mailbox"));
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let people =
            admin.get(&world.url("demo", "/institution/users?cause=smtp_auth_mailbox")).await.text().await.unwrap();
        assert!(people.contains("Only people whose mailbox has this problem"), "{people}");
        assert_eq!(people.matches("data-person=").count(), 4);
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mailboxes_near_the_daily_limit_are_named() {
    for database in Database::both().await {
        let world =
            World::start_with(&database, Clock::system(), &[("ENTREPOST_RECIPIENTS_PER_DAY", "6".to_owned())]).await;
        let (busy, calm) = (world.seat("user@demo.example").await, world.newcomer("calm@demo.example").await);
        world.queue(&busy, 4, "other@demo.example", world.clock.now()).await;
        world.queue(&calm, 2, "other@demo.example", world.clock.now()).await;
        while world.services.outbox.run_once().await.unwrap() > 0 {}
        let text = page(&world).await;
        let near = text.split("Near the daily limit").nth(1).and_then(|rest| rest.split("</dd>").next()).unwrap();
        assert!(near.contains("user@demo.example") && near.contains(": 4 of 6 recipients in 24 hours"), "{near}");
        assert!(!near.contains("calm@demo.example"), "{near}");
        world.services.store.close().await;
    }
}
