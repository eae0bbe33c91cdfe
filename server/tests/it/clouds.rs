//! National clouds: tokens and secrets go to the hosts of the operator's list only.

use app::model::MailboxState;
use sandbox::Sandbox;
use server::access_tokens::TokenError;
use server::clock::Clock;
use server::store::Slot;
use sqlx::Connection;

use crate::common::{Browser, Database, World, complete, connects_with_a_password, location};
use crate::email_state::focused;

const CONFIG: &str = "/institution/config/general/email";

/// A second cloud with an app of the same IDs and secret, and a world that may choose it.
async fn start(database: &Database) -> (World, Sandbox, tempfile::TempDir) {
    let other = Sandbox::start(sandbox::Config::ephemeral()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (file, ca) = (directory.path().join("clouds.toml"), directory.path().join("other.pem"));
    std::fs::write(&ca, other.ca_pem()).unwrap();
    let text = format!(
        "[[cloud]]\nname = \"other\"\nlabel = \"The other cloud\"\nauthority = \"{}\"\nsmtp = \"localhost:{}\"\nimap = \"localhost:{}\"\n\
         scopes = \"https://outlook.other.example/SMTP.Send https://outlook.other.example/IMAP.AccessAsUser.All offline_access openid profile email\"\n\
         app_scope = \"https://outlook.other.example/.default\"\nfederation_audience = \"api://OtherExchange\"\n",
        other.authority(),
        other.smtp_addr().port(),
        other.imap_addr().port()
    );
    std::fs::write(&file, text).unwrap();
    let settings = [
        ("ENTREPOST_MICROSOFT_CLOUDS_FILE", file.display().to_string()),
        ("ENTREPOST_EXTRA_CA_FILE", ca.display().to_string()),
    ];
    let world = World::start_with(database, Clock::system(), &settings).await;
    {
        let here = world.sandbox.world();
        let mut there = other.world();
        (there.tenant_id, there.app.client_id) = (here.tenant_id, here.app.client_id);
        there.app.secret_value.clone_from(&here.app.secret_value);
        there.app.redirect_uris.clone_from(&here.app.redirect_uris);
    }
    (world, other, directory)
}

async fn administrator(world: &World) -> Browser {
    let admin = Browser::new(world);
    admin.sign_in(world, "demo", "admin@demo.example").await;
    admin
}

async fn save(world: &World, admin: &Browser, cloud: &str) -> String {
    let app = world.app_values();
    let fields = [&app.fields()[..], &[("cloud", cloud)]].concat();
    admin.post(&world.url("demo", "/api/save_email_config"), &fields).await;
    admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap()
}

fn asked(sandbox: &Sandbox) -> u64 {
    sandbox.world().token_requests.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cloud_ends_every_grant_and_gets_everything_afterwards() {
    for database in Database::both().await {
        let (world, other, _files) = start(&database).await;
        let seat = world.seat("user@demo.example").await;
        let admin = administrator(&world).await;
        // Begun here, and not to be completed there.
        let user = Browser::new(&world);
        user.sign_in(&world, "demo", "user@demo.example").await;
        let fields = [("email", "user@demo.example")];
        let authorize = location(&user.post(&world.url("demo", "/api/configure_and_test"), &fields).await);
        let back = user.at_microsoft(&world, &authorize, "user@demo.example").await;
        let page = save(&world, &admin, "other").await;
        assert!(page.contains("1 person must sign in again"), "{page}");
        admin.post(&world.url("demo", "/api/verify_again"), &[("confirm_disconnect", "yes")]).await;
        let store = &world.services.store;
        let current = store.registration(seat.institution, Slot::Current).await.unwrap().unwrap();
        assert_eq!(current.cloud, "other");
        assert!(store.registration(seat.institution, Slot::Previous).await.unwrap().is_none());
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!((mailbox.state, mailbox.refresh_token_sealed.as_str()), (MailboxState::NeedsReconnect, ""));
        let (here, there) = (asked(&world.sandbox), asked(&other));
        complete(&user, &world, "demo", &back).await;
        assert_eq!((asked(&world.sandbox), asked(&other)), (here, there), "the code goes nowhere");
        // From now on everything is the other cloud's.
        let done = connects_with_a_password(&world, "user@demo.example").await;
        assert!(done.contains("Your mailbox is connected"), "{done}");
        assert_eq!(asked(&world.sandbox), here, "nothing is asked at the old one");
        let arrived = |sandbox: &Sandbox| sandbox.world().mails().iter().any(|(to, ..)| to == "user@demo.example");
        assert!(arrived(&other) && !arrived(&world.sandbox));
        let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
        assert_eq!(mailbox.app.cloud, "other");
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_outside_the_list_get_nothing() {
    let database = Database::sqlite();
    let (world, other, _files) = start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let admin = administrator(&world).await;
    let (here, there) = (asked(&world.sandbox), asked(&other));
    let evil = other.authority().to_owned();
    for forged in [evil.as_str(), "evil", "us_gov", "Other", "other ", "../other", "global"] {
        let page = save(&world, &admin, forged).await;
        assert!(page.contains("Choose one of the clouds in the list."), "{forged}: {page}");
    }
    assert_eq!((asked(&world.sandbox), asked(&other)), (here, there), "neither secret nor token was sent");
    let store = &world.services.store;
    assert_eq!(store.registration(seat.institution, Slot::Current).await.unwrap().unwrap().cloud, "");
    // A form that does not ask keeps what is stored.
    let page = save(&world, &admin, "").await;
    assert!(page.contains("Microsoft accepted the credentials."), "{page}");
    // A cloud that the operator took out of the list, as a replica sees it.
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    for table in ["app_registrations", "mailboxes"] {
        let change = sqlx::AssertSqlSafe(format!("UPDATE {table} SET cloud = 'gone'"));
        sqlx::query(change).execute(&mut connection).await.unwrap();
    }
    let mailbox = store.mailbox(seat.key()).await.unwrap().unwrap();
    let (here, there) = (asked(&world.sandbox), asked(&other));
    world.services.tokens.forget(seat.mailbox);
    assert!(matches!(world.services.tokens.prove(&mailbox).await, Err(TokenError::Credential(_))));
    assert_eq!((asked(&world.sandbox), asked(&other)), (here, there));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_another_cloud_is_told_which() {
    let database = Database::sqlite();
    let (world, other, _files) = start(&database).await;
    let seat = world.seat("user@demo.example").await;
    let admin = administrator(&world).await;
    world.sandbox.world().faults.app_error = 90038;
    let page = save(&world, &admin, "own").await;
    assert!(page.contains("This tenant lives in another Microsoft cloud.") && page.contains("cloud-error"), "{page}");
    // The answer names a cloud of the list.
    world.sandbox.world().faults.other_cloud =
        url::Url::parse(other.authority()).unwrap().host_str().unwrap().to_owned();
    let page = save(&world, &admin, "own").await;
    assert!(page.contains(" or The other cloud."), "both sandboxes are on localhost: {page}");
    // A mailbox whose renewal meets it: the page leads to the field.
    {
        let mut world = world.sandbox.world();
        world.faults.token_error_kind = "invalid_request".into();
        world.faults.token_error = 90038;
    }
    let mailbox = world.services.store.mailbox(seat.key()).await.unwrap().unwrap();
    world.services.tokens.forget(seat.mailbox);
    assert!(world.services.tokens.prove(&mailbox).await.is_err());
    let page = admin.get(&world.url("demo", CONFIG)).await.text().await.unwrap();
    assert_eq!(focused(&page), Some("cloud"), "{page}");
}
