//! The list of people: search, filters, order, pages; inviting many; acting on several.

use app::model::{MailboxState, PeopleOrder, PeopleQuery, PersonState, UserId};
use server::clock::Clock;
use server::diagnosis::Fault;
use server::store::User;

use crate::common::{Browser, Database, World, location};

const USERS: &str = "/institution/users";

/// An institution with so many people more.
async fn crowd(world: &World, count: usize) {
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let mut tx = store.begin().await.unwrap();
    for number in 0..count {
        let new = User {
            id: UserId(world.clock.uuid()),
            address: format!("p{number:05}@demo.example"),
            // The other way round than the addresses.
            name: format!("Name {:05} 100%_sure", count - number),
            role: app::model::Role::User,
            password_hash: None,
            linked: false,
            disabled_at: (number % 10 == 9).then(|| world.clock.now()),
            last_sign_in_at: None,
        };
        store.add_user(&mut tx, institution, &new, world.clock.now()).await.unwrap();
        if new.disabled_at.is_some() {
            store.set_disabled(&mut tx, institution, new.id, new.disabled_at).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
}

/// All addresses of a view, page by page.
async fn all(world: &World, mut query: PeopleQuery) -> Vec<String> {
    let store = &world.services.store;
    let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let mut found = Vec::new();
    loop {
        let page = store.list_people(institution, &query, 20).await.unwrap();
        let Some(last) = page.last() else { return found };
        query.after = Some(last.id);
        found.extend(page.into_iter().map(|person| person.address));
    }
}

#[tokio::test]
async fn people_are_found_filtered_and_paged_in_every_order() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("user@demo.example").await;
        crowd(&world, 130).await;
        let store = &world.services.store;
        let everybody = all(&world, PeopleQuery::default()).await;
        let mut sorted = everybody.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(everybody, sorted, "each once, in the order of addresses");
        assert!(everybody.len() >= 132, "{}", everybody.len());
        let by_name = all(&world, PeopleQuery { order: PeopleOrder::Name, ..PeopleQuery::default() }).await;
        assert_eq!(by_name.len(), everybody.len());
        let named: Vec<&String> = by_name.iter().filter(|address| address.starts_with('p')).collect();
        assert!(named.is_sorted_by(|one, other| one > other), "names run the other way");
        let by_day = all(&world, PeopleQuery { order: PeopleOrder::LastSignIn, ..PeopleQuery::default() }).await;
        assert_eq!(by_day.len(), everybody.len());
        for (search, count) in [
            ("p0001", 10),
            ("P00017@", 1),
            ("NAME 00001 ", 1),
            ("100%_sure", 130),
            ("%", 130),
            ("_", 130),
            ("!", 0),
            ("'", 0),
        ] {
            let found = all(&world, PeopleQuery { search: search.into(), ..PeopleQuery::default() }).await;
            assert_eq!(found.len(), count, "{search}");
        }
        let of = async |state| all(&world, PeopleQuery { state: Some(state), ..PeopleQuery::default() }).await;
        assert_eq!(of(PersonState::Disabled).await.len(), 13);
        assert_eq!(of(PersonState::Connected).await, ["user@demo.example"]);
        let fault = Fault::new("smtp_auth_mailbox", world.clock.now(), &[]);
        store
            .set_mailbox_state(seat.key(), MailboxState::Blocked, Some(&fault), None, world.clock.now())
            .await
            .unwrap();
        assert_eq!(of(PersonState::Blocked).await, ["user@demo.example"]);
        assert!(of(PersonState::Connected).await.is_empty());
        let cause = PeopleQuery { cause: Some("smtp_auth_mailbox".into()), ..PeopleQuery::default() };
        assert_eq!(all(&world, cause).await, ["user@demo.example"]);
        let counts = store.count_people(seat.institution).await.unwrap();
        let sum: i64 = counts.iter().map(|(_, count)| count).sum();
        assert_eq!(usize::try_from(sum).unwrap(), everybody.len());
        assert!(
            counts.contains(&(PersonState::Disabled, 13)) && counts.contains(&(PersonState::Blocked, 1)),
            "{counts:?}"
        );

        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let page = admin.get(&world.url("demo", USERS)).await.text().await.unwrap();
        assert_eq!(page.matches("data-person=").count(), 50);
        assert!(page.len() < 200_000, "{} bytes", page.len());
        assert!(page.contains("Next page"), "{page}");
        let page = admin.get(&world.url("demo", &format!("{USERS}?q=user%40"))).await.text().await.unwrap();
        assert!(page.contains("A check fails") && page.contains("class=\"cause\""), "{page}");
        let odd_name = "a\0b".repeat(2_000);
        let fields = [("email", "odd@demo.example"), ("role", "user"), ("name", odd_name.as_str())];
        assert_eq!(admin.post(&world.url("demo", "/api/invite"), &fields).await.status(), 302);
        let stored = store.user_by_address(seat.institution, "odd@demo.example").await.unwrap().unwrap();
        assert_eq!(stored.name, "ab".repeat(50));
        for odd in [
            "?after=x",
            "?state=nothing&order=up&cause=%27",
            "?q=%25%00",
            "?after=00000000-0000-0000-0000-000000000000",
        ] {
            let answer = admin.get(&world.url("demo", &format!("{USERS}{odd}"))).await;
            assert_eq!(answer.status(), 200, "{odd}");
        }
        world.services.store.close().await;
    }
}

async fn list_of(world: &World, admin: &Browser, text: &str) -> String {
    // Half of the list is pasted, half of it is a file.
    let (pasted, file) = text.split_at(text.len() / 2 + text[text.len() / 2..].find('\n').unwrap_or(0));
    let fields = [("people", pasted), ("role", "user")];
    let files = [("people.csv", "text/csv", file.as_bytes())];
    let answer = admin.post_parts(&world.url("demo", "/api/list_invitations"), &fields, &files).await;
    location(&answer)
}

#[tokio::test]
async fn a_list_is_seen_before_anything_is_sent_and_goes_on_after_a_restart() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let seat = world.seat("admin@demo.example").await;
        world.notifications_leave_through(&seat).await;
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let mut lines: Vec<String> = (0..70).map(|number| format!("Person {number},n{number}@demo.example")).collect();
        lines.extend(["N3@demo.example".into(), "user@demo.example".into(), "=cmd|calc".into()]);
        let path = list_of(&world, &admin, &lines.join("\n")).await;
        let preview = admin.get(&world.url("demo", &path)).await.text().await.unwrap();
        assert!(preview.contains("70 people would be invited"), "{preview}");
        assert!(preview.contains("=cmd|calc") && preview.contains("listed twice") && preview.contains("already here"));
        let store = &world.services.store;
        assert!(store.user_by_address(seat.institution, "n1@demo.example").await.unwrap().is_none());

        // Confirmed, and the process ends before anybody is invited.
        let id = path.rsplit('/').next().unwrap().parse().unwrap();
        let mut tx = store.begin().await.unwrap();
        assert!(store.confirm_invitation_list(&mut tx, seat.institution, id, world.clock.now()).await.unwrap());
        tx.commit().await.unwrap();
        // Meanwhile one of them is invited alone.
        let one = [("email", "n5@demo.example"), ("role", "user")];
        admin.post(&world.url("demo", "/api/invite"), &one).await;
        world.services.sweep_once().await.unwrap();
        world.services.sweep_once().await.unwrap();
        let person = store.user_by_address(seat.institution, "n1@demo.example").await.unwrap().unwrap();
        assert_eq!(person.name, "Person 1");
        let progress = admin.get(&world.url("demo", &path)).await.text().await.unwrap();
        assert!(progress.contains("69 people invited") && progress.contains("data-left=\"0\""), "{progress}");
        assert!(progress.contains("69 waiting"), "{progress}");
        let queued = store.queued_at(seat.institution, i64::MAX).await.unwrap().count;
        assert_eq!(queued, 70, "each once, and the one invited alone");

        // What is confirmed is not discarded, and pressed twice, nothing happens twice.
        let id = path.rsplit('/').next().unwrap();
        let said = admin.post(&world.url("demo", "/api/discard_invitations"), &[("list", id)]).await;
        let said = admin.get(&world.url("demo", &location(&said))).await.text().await.unwrap();
        assert!(said.contains("confirmed already"), "{said}");
        admin.post(&world.url("demo", "/api/confirm_invitations"), &[("list", path.rsplit('/').next().unwrap())]).await;
        world.services.sweep_once().await.unwrap();
        assert_eq!(store.queued_at(seat.institution, i64::MAX).await.unwrap().count, 70);

        let file = admin.post(&world.url("demo", &format!("{path}/links")), &[]).await;
        assert_eq!(file.headers()["content-type"], "text/csv; charset=utf-8");
        let text = file.text().await.unwrap();
        assert_eq!(text.lines().count(), 70, "{text}");
        let link = text.lines().nth(1).unwrap().rsplit(',').next().unwrap().trim_matches('"').to_owned();
        let token = link.rsplit('/').next().unwrap();
        let invited = Browser::new(&world);
        let page = invited.get(&world.url("demo", &format!("/invitation/{token}"))).await;
        assert_eq!(page.status(), 200);
        let user = Browser::new(&world);
        user.sign_in(&world, "demo", "user@demo.example").await;
        assert_eq!(user.post(&world.url("demo", &format!("{path}/links")), &[]).await.status(), 403);
        assert_eq!(user.get(&world.url("demo", &path)).await.status(), 403);
        world.services.store.close().await;
    }
}

#[tokio::test]
async fn lists_have_limits_and_belong_to_their_institution() {
    let database = Database::sqlite();
    let world =
        World::start_with(&database, Clock::system(), &[("ENTREPOST_INVITATIONS_PER_DAY", "5".to_owned())]).await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let page = async |path: &str| admin.get(&world.url("demo", path)).await.text().await.unwrap();
    assert_eq!(list_of(&world, &admin, " \n ").await, "/institution/users/invite");
    assert!(page("/institution/users/invite").await.contains("Paste at least one email address"));
    let six: Vec<String> = (0..6).map(|number| format!("n{number}@demo.example")).collect();
    let path = list_of(&world, &admin, &six.join("\n")).await;
    let id = path.rsplit('/').next().unwrap().to_owned();
    admin.post(&world.url("demo", "/api/confirm_invitations"), &[("list", &id)]).await;
    let refused = page(&path).await;
    assert!(
        refused.contains("allows 5 invitations and links a day") && refused.contains("6 people would be invited"),
        "{refused}"
    );
    // Nothing of it was counted.
    let path = list_of(&world, &admin, &six[..5].join("\n")).await;
    let id = path.rsplit('/').next().unwrap().to_owned();
    admin.post(&world.url("demo", "/api/confirm_invitations"), &[("list", &id)]).await;
    admin.post(&world.url("demo", "/api/confirm_invitations"), &[("list", &id)]).await;
    world.services.sweep_once().await.unwrap();
    assert!(page(&path).await.contains("5 people invited"));
    // The first links of a list belong to the invitation; new ones count like invitations.
    for said in ["/invitation/", "Try again tomorrow"] {
        let links = admin.post(&world.url("demo", &format!("{path}/links")), &[]).await.text().await.unwrap();
        assert!(links.contains(said), "{said}: {links}");
    }
    let many: Vec<String> = (0..10_001).map(|number| format!("m{number}@demo.example")).collect();
    assert_eq!(list_of(&world, &admin, &many.join("\n")).await, "/institution/users/invite");
    assert!(page("/institution/users/invite").await.contains("At most 10000 people at a time."));
    for stranger in ["/institution/users/invite/x", "/institution/users/invite/00000000-0000-0000-0000-000000000000"] {
        assert_eq!(admin.get(&world.url("demo", stranger)).await.status(), 404);
    }
}

#[tokio::test]
async fn several_people_are_reminded_once_a_day_and_disabled_together() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let (database, clock) = (Database::sqlite(), Clock::manual(Clock::system().now()));
    let world = World::start_with(&database, clock.clone(), &[]).await;
    let seat = world.seat("admin@demo.example").await;
    world.notifications_leave_through(&seat).await;
    crowd(&world, 20).await;
    let store = &world.services.store;
    let mut admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let act = async |admin: &Browser, fields: &[(&str, &str)]| {
        let answer = admin.post(&world.url("demo", "/api/people_action"), fields).await;
        assert!(location(&answer).starts_with(USERS), "{}", location(&answer));
        admin.get(&world.url("demo", USERS)).await.text().await.unwrap()
    };
    let waiting = async || store.queued_at(seat.institution, i64::MAX).await.unwrap().count;
    // 18 who are not disabled, and user@.
    assert!(act(&admin, &[("action", "remind_all")]).await.contains("19 people: reminded."));
    assert_eq!(waiting().await, 19);
    assert!(act(&admin, &[("action", "remind_all")]).await.contains("0 people: reminded."));
    let one = store.user_by_address(seat.institution, "p00001@demo.example").await.unwrap().unwrap().id.to_string();
    let page = act(&admin, &[("action", &format!("remind {one}")), ("list", "/institution/users?q=p0")]).await;
    assert!(page.contains("was reminded within the last day"), "{page}");
    assert_eq!(waiting().await, 19);
    clock.advance_ms(DAY_MS + 1);
    admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    assert!(act(&admin, &[("action", "remind"), ("users[0]", &one)]).await.contains("1 person: reminded."));
    assert_eq!(waiting().await, 20);
    let own = seat.user.to_string();
    let page = act(&admin, &[("action", "disable"), ("users[0]", &one), ("users[1]", &own)]).await;
    assert!(page.contains("1 person: disabled.") && page.contains("is you"), "{page}");
    assert!(act(&admin, &[("action", "disable")]).await.contains("No one is selected."));
    assert!(act(&admin, &[("action", "disconnect"), ("users[0]", &own)]).await.contains("1 person: disconnected."));
    assert!(store.mailbox(seat.key()).await.unwrap().is_none());
    let elsewhere = admin
        .post(&world.url("demo", "/api/people_action"), &[("action", "remind_all"), ("list", "/mail/inbox")])
        .await;
    assert_eq!(location(&elsewhere), USERS);
}
