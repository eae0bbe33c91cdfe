//! Who may sign in how: passwords, newcomers, and invitations without a link.

use app::model::{InstitutionId, PasswordRule, Role, SignInSettings, Timestamp};

use crate::common::{Browser, Database, World};
use crate::microsoft::{USER, invitation, is_signed_in, new_link, said, sign_in, world};

/// Saves the rules of sign-in as an administrator; returns the page afterwards.
async fn rules(world: &World, fields: &[(&str, &str)]) -> String {
    let admin = Browser::new(world);
    admin.sign_in(world, "demo", "admin@demo.example").await;
    admin.post(&world.url("demo", "/api/save_sign_in_settings"), fields).await;
    said(&admin, world, "/institution/config/general/sign-in").await
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_the_tenant_get_an_account_only_where_the_institution_says_so() {
    for database in Database::both().await {
        let world = world(&database).await;
        let accounts = ["one@demo.example", "two@demo.example", "pupil@pupils.example", "guest@demo.example"];
        for account in accounts {
            world.sandbox.world().add_account(account, account);
        }
        let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
        let exists = async |address: &str| {
            world.services.store.user_by_address(institution, address).await.unwrap().is_some_and(|user| user.linked)
        };
        let tries = async |name: &str| {
            let browser = Browser::new(&world);
            sign_in(&browser, &world, name, &[]).await;
            is_signed_in(&browser, &world).await
        };
        assert!(!tries("one@demo.example").await, "off by default");
        // Only named domains.
        let page = rules(&world, &[("passwords", "everyone"), ("newcomers", "domains"), ("domains", "")]).await;
        assert!(page.contains("Enter at least one domain."), "{page}");
        rules(&world, &[("passwords", "everyone"), ("newcomers", "domains"), ("domains", "demo.example")]).await;
        assert!(tries("one@demo.example").await && exists("one@demo.example").await);
        assert!(!tries("pupil@pupils.example").await && !exists("pupil@pupils.example").await);
        // An address that already has an account is not taken over by a name.
        assert!(!tries("user@demo.example").await, "their account is linked to nobody");
        // Guests, whatever their names say.
        for (claim, value) in [("idp", "https://sts.windows.net/00000000-0000-4000-8000-000000000009/"), ("acct", "1")]
        {
            world.sandbox.world().claims.insert(claim.into(), value.into());
            assert!(!tries("guest@demo.example").await && !exists("guest@demo.example").await, "{claim}");
            world.sandbox.world().claims.clear();
        }
        let foreign = "someone_far.example#EXT#@demo.example";
        world.sandbox.world().claims.insert("preferred_username".into(), foreign.into());
        assert!(!tries("guest@demo.example").await, "an external name");
        world.sandbox.world().claims.clear();
        // Everyone whom Entra lets in.
        rules(&world, &[("passwords", "everyone"), ("newcomers", "assigned"), ("domains", "")]).await;
        assert!(tries("pupil@pupils.example").await && tries("guest@demo.example").await);
        let role =
            world.services.store.user_by_address(institution, "pupil@pupils.example").await.unwrap().unwrap().role;
        assert_eq!(role, Role::User);
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let log = said(&admin, &world, "/institution/audit").await;
        assert!(log.contains("Account made at a sign-in"), "{log}");
        // Another institution of this server lets nobody in by that.
        let second = world.services.store.institution_by_slug("second").await.unwrap().unwrap().id;
        assert!(world.services.store.user_by_address(second, "two@demo.example").await.unwrap().is_none());
        world.services.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_for_two_known_administrators_and_never_without_another_credential() {
    let database = Database::sqlite();
    let world = world(&database).await;
    let off = [("passwords", "administrators"), ("newcomers", "refused"), ("domains", "")];
    let page = rules(&world, &off).await;
    assert!(page.contains("The app has only a Client Secret."), "{page}");
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let institution = upload_certificate(&world, &admin).await;
    save(&world, &admin, "certificate").await;
    let page = rules(&world, &off).await;
    assert!(page.contains("Now it is 1."), "only one administrator's password is known: {page}");
    let user = world.services.store.user_by_address(institution, USER).await.unwrap().unwrap();
    let id = user.id.to_string();
    admin.post(&world.url("demo", "/api/set_role"), &[("user", id.as_str()), ("role", "administrator")]).await;
    Browser::new(&world).sign_in(&world, "demo", USER).await;
    let third = world.services.store.user_by_address(institution, "registrar@demo.example").await.unwrap().unwrap();
    let third = third.id.to_string();
    admin.post(&world.url("demo", "/api/set_role"), &[("user", third.as_str()), ("role", "administrator")]).await;
    Browser::new(&world).sign_in(&world, "demo", "registrar@demo.example").await;
    let first = world.services.store.user_by_address(institution, "admin@demo.example").await.unwrap().unwrap().id;
    let first = first.to_string();
    let (one, two, three) = (first.as_str(), id.as_str(), third.as_str());
    for wrong in [vec![], vec![one], vec![one, two, three], vec![one, one], vec![one, "nobody"]] {
        let mut fields = off.to_vec();
        fields.extend(wrong.iter().map(|keeper| ("keepers[]", *keeper)));
        let page = rules(&world, &fields).await;
        assert!(page.contains("Choose 2 administrators."), "{wrong:?}: {page}");
    }
    let mut fields = off.to_vec();
    fields.extend([("keepers[]", one), ("keepers[]", two)]);
    let page = rules(&world, &fields).await;
    assert!(page.contains("Saved."), "{page}");
    // Both still come in; others are sent to Microsoft, also administrators, also by a link.
    Browser::new(&world).sign_in(&world, "demo", USER).await;
    let registrar = Browser::new(&world);
    let fields = [("email", "registrar@demo.example"), ("password", crate::common::PASSWORD)];
    registrar.post(&world.url("demo", "/api/sign_in"), &fields).await;
    assert!(!is_signed_in(&registrar, &world).await);
    let page = said(&registrar, &world, "/login").await;
    assert!(page.contains("Your institution signs in with Microsoft.") && page.contains("in an emergency"), "{page}");
    let token = invitation(&world, "invited@demo.example").await;
    let page = said(&Browser::new(&world), &world, &format!("/invitation/{token}")).await;
    assert!(page.contains("Sign in with Microsoft") && !page.contains("Confirm password"), "{page}");
    let invited = Browser::new(&world);
    let chosen = "a long enough password";
    let fields = [("token", token.as_str()), ("password", chosen), ("repeated", chosen)];
    invited.post(&world.url("demo", "/api/accept_invitation"), &fields).await;
    assert!(!is_signed_in(&invited, &world).await, "the form is not needed to try");
    // Should both be gone, the third administrator comes in again.
    let set_disabled = async |at: Option<Timestamp>| {
        for keeper in [one, two] {
            let mut tx = world.services.store.begin().await.unwrap();
            world.services.store.set_disabled(&mut tx, institution, keeper.parse().unwrap(), at).await.unwrap();
            tx.commit().await.unwrap();
        }
    };
    set_disabled(Some(world.clock.now())).await;
    Browser::new(&world).sign_in(&world, "demo", "registrar@demo.example").await;
    set_disabled(None).await;
    // Back to a secret: passwords work again, or nobody could come in once it expires.
    save(&world, &admin, "secret").await;
    registrar.sign_in(&world, "demo", "registrar@demo.example").await;
}

/// Makes a certificate, and uploads it at Microsoft.
async fn upload_certificate(world: &World, admin: &Browser) -> InstitutionId {
    admin.post(&world.url("demo", "/api/make_certificate"), &[]).await;
    let institution = world.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
    let keys = world.services.app_credentials.certificates(institution).await.unwrap();
    world.sandbox.world().app.certificates.push(keys[0].public_part.clone());
    institution
}

/// Saves the app with a credential.
async fn save(world: &World, admin: &Browser, credential: &str) {
    let app = world.app_values();
    let fields = [&app.fields()[..], &[("credential", credential)]].concat();
    admin.post(&world.url("demo", "/api/save_email_config"), &fields).await;
}

/// The institution has a certificate, and passwords are off.
async fn without_passwords(world: &World) {
    let admin = Browser::new(world);
    admin.sign_in(world, "demo", "admin@demo.example").await;
    let institution = upload_certificate(world, &admin).await;
    save(world, &admin, "certificate").await;
    let store = &world.services.store;
    let settings = SignInSettings { passwords: PasswordRule::Administrators, ..SignInSettings::default() };
    let mut tx = store.begin().await.unwrap();
    store.put_sign_in_settings(&mut tx, institution, &settings, world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// A certificate does not end as a secret does; where passwords are for emergencies, the last one stays all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrators_password_stays_where_passwords_are_off() {
    let name = "admin@demo.example";
    for (rule, stays) in [(PasswordRule::Administrators, true), (PasswordRule::Everyone, false)] {
        let database = Database::sqlite();
        let world = world(&database).await;
        without_passwords(&world).await;
        let store = &world.services.store;
        let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
        let mut tx = store.begin().await.unwrap();
        let settings = SignInSettings { passwords: rule, ..SignInSettings::default() };
        store.put_sign_in_settings(&mut tx, institution, &settings, world.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let token = new_link(&world, name).await;
        let admin = Browser::new(&world);
        sign_in(&admin, &world, name, &[("invitation", &token)]).await;
        assert!(is_signed_in(&admin, &world).await, "{rule:?}");
        let user = store.user_by_address(institution, name).await.unwrap().unwrap();
        assert_eq!(user.password_hash.is_some(), stays, "{rule:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everyone_signs_in_with_microsoft_the_list_holds_no_secrets() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[]).await;
        world.newcomer("registrar@demo.example").await;
        let accounts = ["new@demo.example", "late@demo.example", "guest@demo.example", "stranger@demo.example"];
        for account in accounts {
            world.sandbox.world().add_account(account, account);
        }
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let list = "new@demo.example\nlate@demo.example\nguest@demo.example";
        let fields = [("people", list), ("role", "user")];
        let none = [("people.csv", "text/csv", &b""[..])];
        let answer = admin.post_parts(&world.url("demo", "/api/list_invitations"), &fields, &none).await;
        let path = answer.headers()["location"].to_str().unwrap().to_owned();
        let id = path.rsplit('/').next().unwrap().to_owned();
        admin.post(&world.url("demo", "/api/confirm_invitations"), &[("list", &id)]).await;
        world.services.sweep_once().await.unwrap();
        world.until(async || said(&admin, &world, &path).await.contains("3 people invited")).await;
        let tries = async |name: &str| {
            let browser = Browser::new(&world);
            sign_in(&browser, &world, name, &[]).await;
            is_signed_in(&browser, &world).await
        };
        assert!(!tries("new@demo.example").await, "where passwords are on, the link is needed");
        without_passwords(&world).await;
        let file = admin.post(&world.url("demo", &format!("{path}/links")), &[]).await.text().await.unwrap();
        let sign_in_page = format!("\"new@demo.example\",\"{}\"", world.url("demo", "/login"));
        assert!(file.contains(&sign_in_page) && !file.contains("/invitation/"), "{file}");
        assert!(said(&admin, &world, &path).await.contains("the file names the sign-in page"));
        assert!(!tries("stranger@demo.example").await, "no one invited them");
        // A guest may have any name.
        world.sandbox.world().claims.insert("acct".into(), "1".into());
        assert!(!tries("guest@demo.example").await);
        world.sandbox.world().claims.clear();
        // The claims that people may set themselves open nothing.
        world.sandbox.world().claims.insert("email".into(), "new@demo.example".into());
        assert!(!tries("stranger@demo.example").await, "the email claim");
        world.sandbox.world().claims.clear();
        assert!(tries("new@demo.example").await, "the sign-in name was invited");
        // Another account that gets the same name later is another account.
        let oid = world.clock.uuid().to_string();
        world.sandbox.world().claims.insert("oid".into(), oid);
        assert!(!tries("new@demo.example").await, "the invitation was used");
        world.sandbox.world().claims.clear();
        clock.advance_ms(73 * 60 * 60 * 1000);
        world.sandbox.world().clock_ahead = 73 * 60 * 60;
        assert!(!tries("late@demo.example").await, "the invitation has expired");
        world.services.store.close().await;
    }
}
