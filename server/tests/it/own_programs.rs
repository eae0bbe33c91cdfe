//! Programs that people add for their own mailboxes: whose they are, and when they stop.

use app::model::{RelayEvent, Timestamp};
use server::clock::Clock;
use sqlx::Connection;

use crate::common::relay::{Client, Given, RelayWorld, plain};
use crate::common::{Browser, Database, location, without_bdi};

const PAGE: &str = "/account/programs";
const CONTENT: &str = "From: user@demo.example\r\nSubject: Timetable\r\nTo: other@demo.example\r\n\r\nText\r\n";

async fn browser(world: &RelayWorld, address: &str) -> Browser {
    let browser = Browser::new(world);
    browser.sign_in(world, "demo", address).await;
    browser
}

async fn page(world: &RelayWorld, browser: &Browser) -> String {
    without_bdi(&browser.get(&world.url("demo", PAGE)).await.text().await.unwrap())
}

async fn post(world: &RelayWorld, browser: &Browser, function: &str, fields: &[(&str, &str)]) -> String {
    let answer = browser.post(&world.url("demo", &format!("/api/{function}")), fields).await;
    without_bdi(&browser.get(&world.url("demo", &location(&answer))).await.text().await.unwrap())
}

/// Adds a program as the person does.
async fn add(world: &RelayWorld, person: &Browser, name: &str) -> Given {
    let store = &world.services.store;
    let user = store.user_by_address(world.institution, "user@demo.example").await.unwrap().unwrap().id;
    let mailbox = store.mailboxes_of(world.institution, user).await.unwrap()[0].id.to_string();
    let said = post(world, person, "add_own_program", &[("name", name), ("mailbox", &mailbox)]).await;
    assert!(said.contains(&format!("{name} is added.")), "{said}");
    let shown = said.split("<code>").nth(1).unwrap().split("</code>").next().unwrap().to_owned();
    let device = store.devices_of(world.institution, user).await.unwrap();
    let device = device.into_iter().find(|device| device.settings.name == name).unwrap();
    Given { id: device.id, login: format!("{}@demo", device.login), password: shown }
}

/// The answer to the sign-in.
async fn signs_in(client: &mut Client, program: &Given) -> String {
    client.say(&format!("AUTH PLAIN {}", plain(&program.login, &program.password))).await
}

/// The answer to a message of the person's own.
async fn send(client: &mut Client) -> String {
    for command in ["MAIL FROM:<user@demo.example>", "RCPT TO:<other@demo.example>"] {
        let answer = client.say(command).await;
        if !answer.starts_with("250") {
            return answer;
        }
    }
    let answer = client.say("DATA").await;
    if !answer.starts_with("354") {
        return answer;
    }
    client.say(&format!("{CONTENT}.")).await
}

async fn is_let_in(world: &RelayWorld, program: &Given) -> bool {
    let mut client = world.client().await;
    client.start_tls().await;
    signs_in(&mut client, program).await.starts_with("235")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_a_person_sends_while_the_institution_and_the_person_are_there() {
    for database in Database::both().await {
        let clock = Clock::manual(Clock::system().now());
        let world = RelayWorld::start_with(&database, clock.clone(), &[]).await;
        let person = browser(&world, "user@demo.example").await;
        assert!(page(&world, &person).await.contains("Your institution doesn't allow new programs of your own"));
        let account = person.get(&world.url("demo", "/account/email")).await.text().await.unwrap();
        assert!(!account.contains(PAGE), "no link leads there");
        let said = post(&world, &person, "add_own_program", &[("name", "Early"), ("mailbox", "x")]).await;
        assert!(said.contains("Choose a mailbox of yours."), "{said}");

        post(&world, &world.admin, "allow_own_programs", &[("allowed", "yes")]).await;
        let account = person.get(&world.url("demo", "/account/email")).await.text().await.unwrap();
        assert!(account.contains(PAGE));
        let program = add(&world, &person, "Timetable").await;
        let mut client = world.signed_in(&program).await;
        let answer = send(&mut client).await;
        assert!(answer.starts_with("250 2.0.0 Queued as "), "{answer}");
        client.expect("QUIT", "221").await;
        world.deliver().await;
        assert!(world.inbox("other@demo.example")[0].contains("From: user@demo.example"));
        assert!(page(&world, &person).await.contains(&program.login));
        // Administrators see it among the others, and it is in the log.
        let all = world.admin.get(&world.url("demo", "/institution/programs")).await.text().await.unwrap();
        assert!(all.contains("Timetable"));
        let log = world.admin.get(&world.url("demo", "/institution/audit")).await.text().await.unwrap();
        assert!(log.contains("Timetable") && !log.contains(&program.password), "{log}");

        // Nobody else's hands.
        let other = browser(&world, "admin@demo.example").await;
        let id = program.id.to_string();
        for function in ["renew_own_program", "remove_own_program"] {
            let said = post(&world, &other, function, &[("device", &id)]).await;
            assert!(said.contains("We can't find that"), "{function}: {said}");
        }
        assert!(is_let_in(&world, &program).await);
        // A new password, and the old one has ended.
        let said = post(&world, &person, "renew_own_program", &[("device", &id)]).await;
        let renewed = said.split("<code>").nth(1).unwrap().split("</code>").next().unwrap().to_owned();
        assert!(!is_let_in(&world, &program).await);
        let program = Given { password: renewed, ..program };
        assert!(is_let_in(&world, &program).await);

        // It stops with the permission, with the person, and when the mailbox is another's.
        post(&world, &world.admin, "allow_own_programs", &[("allowed", "no")]).await;
        assert!(!is_let_in(&world, &program).await);
        world.logged(Some(&program), |event| matches!(event, RelayEvent::Paused)).await;
        post(&world, &world.admin, "allow_own_programs", &[("allowed", "yes")]).await;
        assert!(is_let_in(&world, &program).await);
        let store = &world.services.store;
        let user = store.user_by_address(world.institution, "user@demo.example").await.unwrap().unwrap().id;
        let disable = async |at: Option<Timestamp>| {
            let mut tx = store.begin().await.unwrap();
            store.set_disabled(&mut tx, world.institution, user, at).await.unwrap();
            tx.commit().await.unwrap();
        };
        disable(Some(clock.now())).await;
        assert!(!is_let_in(&world, &program).await);
        disable(None).await;
        let admin = store.user_by_address(world.institution, "admin@demo.example").await.unwrap().unwrap().id;
        let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
        let given = "UPDATE mailboxes SET user_id = $1";
        sqlx::query(given).bind(admin.to_string()).execute(&mut connection).await.unwrap();
        let mut client = world.client().await;
        client.start_tls().await;
        let answer = signs_in(&mut client, &program).await;
        let sent = if answer.starts_with("235") { send(&mut client).await } else { answer };
        assert!(sent.starts_with('4') || sent.starts_with('5'), "{sent}");
        sqlx::query(given).bind(user.to_string()).execute(&mut connection).await.unwrap();
        assert!(is_let_in(&world, &program).await);

        // It goes with the person.
        disable(Some(clock.now())).await;
        let fields = [("user", user.to_string()), ("address", "user@demo.example".to_owned())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let said = post(&world, &world.admin, "erase_person", &fields).await;
        assert!(said.contains("user@demo.example is erased."), "{said}");
        assert!(store.device(world.institution, program.id).await.unwrap().is_none());
        world.services.store.close().await;
    }
}

/// Without the relay there is nothing to add.
#[tokio::test]
async fn without_a_relay_nobody_adds_programs() {
    let database = Database::sqlite();
    let world = crate::common::World::start(&database).await;
    world.seat("user@demo.example").await;
    let person = Browser::new(&world);
    person.sign_in(&world, "demo", "user@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    admin.post(&world.url("demo", "/api/allow_own_programs"), &[("allowed", "yes")]).await;
    let page = person.get(&world.url("demo", PAGE)).await;
    assert_eq!(page.status(), 200);
    assert!(!page.text().await.unwrap().contains("Add a program"));
}
