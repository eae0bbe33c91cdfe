//! Folders with localised names, without special-use flags, and one that can't be opened.

use crate::common::{Browser, Database, Seat, World, location};

fn mail(subject: &str) -> Vec<u8> {
    format!("From: Ann <ann@far.example>\r\nTo: user@demo.example\r\nSubject: {subject}\r\nMessage-ID: <{}@far.example>\r\n\r\nText\r\n", subject.replace(' ', "."))
        .into_bytes()
}

/// A mailbox whose deleted-items folder has this name and no special-use flag.
async fn reader(world: &World, trash: &str) -> (Seat, Browser) {
    {
        let mut sandbox = world.sandbox.world();
        let account = sandbox.accounts.iter_mut().find(|account| account.address == "user@demo.example").unwrap();
        let folder = account.folders.remove("Deleted Items").unwrap();
        account.folders.insert(trash.to_owned(), folder);
    }
    let seat = world.seat("user@demo.example").await;
    let browser = Browser::new(world);
    browser.sign_in(world, "demo", "user@demo.example").await;
    (seat, browser)
}

async fn page(browser: &Browser, world: &World, path: &str) -> String {
    let (path, _) = path.split_once('#').unwrap_or((path, ""));
    crate::common::without_bdi(&browser.get(&world.url("demo", path)).await.text().await.unwrap())
}

async fn listed(browser: &Browser, world: &World, path: &str, subject: &str) -> String {
    world.until(async || page(browser, world, path).await.contains(subject)).await;
    page(browser, world, path).await
}

/// A message's UID in a list.
fn uid(list: &str, subject: &str) -> String {
    let (before, _) = list.split_once(&format!("<span class=\"mail-subject\">{subject}")).expect("it is listed");
    before.rsplit_once("data-uid=\"").unwrap().1.split('"').next().unwrap().to_owned()
}

/// A form's fields as posted.
fn form(page: &str, class: &str) -> Vec<(String, String)> {
    let form =
        page.split_once(class).unwrap_or_else(|| panic!("no {class}: {page}")).1.split_once("</form>").unwrap().0;
    let value = |tag: &str, name: &str| Some(tag.split_once(&format!("{name}=\""))?.1.split('"').next()?.to_owned());
    form.split("<input")
        .filter_map(|tag| Some((value(tag, "name")?, value(tag, "value")?.replace("&amp;", "&"))))
        .collect()
}

async fn post(browser: &Browser, world: &World, path: &str, fields: &[(String, String)]) -> String {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    location(&browser.post(&world.url("demo", path), &fields).await)
}

fn acting(seat: &Seat, uids: &[&str], action: &str) -> Vec<(String, String)> {
    let mut fields = vec![
        ("mailbox".to_owned(), seat.mailbox.to_string()),
        ("folder".to_owned(), "INBOX".to_owned()),
        ("validity".to_owned(), "1".to_owned()),
        ("action".to_owned(), action.to_owned()),
    ];
    fields.extend(uids.iter().map(|uid| ("uids[]".to_owned(), (*uid).to_owned())));
    fields
}

fn folder_of(world: &World, subject: &str) -> String {
    let sandbox = world.sandbox.world();
    let account = sandbox.account_by_address("user@demo.example").unwrap();
    let holds = |mails: &[sandbox::Mail]| mails.iter().any(|mail| String::from_utf8_lossy(&mail.raw).contains(subject));
    let found = account.folders.iter().find(|(_, folder)| holds(&folder.mails));
    found.map(|(name, _)| name.clone()).unwrap_or_default()
}

/// Outlook's names in several languages, in modified UTF-7 (RFC 3501, 5.1.3): deleted mail moves there, and undo restores it.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_finds_its_folder_in_any_language_and_is_undone() {
    for name in [
        "Gel&APY-schte Elemente",
        "&AMk-l&AOk-ments supprim&AOk-s",
        "Elementos eliminados",
        "&UkqWZG4IMH8wojCkMMYw4A-",
        "Papierkorb",
    ] {
        let database = Database::sqlite();
        let world = World::start(&database).await;
        let (seat, browser) = reader(&world, name).await;
        for number in 1..=3 {
            world.sandbox.deliver("user@demo.example", &mail(&format!("Message {number}")));
        }
        let list = listed(&browser, &world, "/mail/inbox", "Message 3").await;
        assert!(!list.contains("Folder for deleted messages"), "{name}");
        let middle = uid(&list, "Message 2");
        let back = post(&browser, &world, "/api/act_on_mail", &acting(&seat, &[&middle], "delete")).await;
        assert_eq!(folder_of(&world, "Subject: Message 2"), name);
        // The list returns to the same position.
        assert!(back.ends_with(&format!("#open-1-{}", uid(&list, "Message 1"))), "{back}");
        let list = page(&browser, &world, &back).await;
        assert!(list.contains("1 message moved to ") && !list.contains(">Message 2"));
        assert!(list.contains("<title>1 message moved to "), "{list}");
        let back = post(&browser, &world, "/api/act_on_mail", &form(&list, "class=\"undo\"")).await;
        assert_eq!(folder_of(&world, "Subject: Message 2"), "INBOX", "{name}");
        let list = page(&browser, &world, &back).await;
        assert!(list.contains("1 message moved back.") && list.contains(">Message 2"), "{list}");
        assert!(back.ends_with(&format!("#open-1-{}", uid(&list, "Message 2"))), "{back}");
    }
}

/// Undo restores all marked messages.
#[tokio::test(flavor = "multi_thread")]
async fn marks_are_undone() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let (seat, browser) = reader(&world, "Papierkorb").await;
    world.sandbox.deliver("user@demo.example", &mail("One"));
    world.sandbox.deliver("user@demo.example", &mail("Two"));
    let list = listed(&browser, &world, "/mail/inbox", "Two").await;
    let (one, two) = (uid(&list, "One"), uid(&list, "Two"));
    let flags = || {
        let sandbox = world.sandbox.world();
        let inbox = &sandbox.account_by_address("user@demo.example").unwrap().folders["INBOX"];
        inbox.mails.iter().map(|mail| mail.flags.join(" ")).collect::<Vec<_>>()
    };
    for (action, wire) in [("read", "\\Seen"), ("flag", "\\Flagged")] {
        let back = post(&browser, &world, "/api/act_on_mail", &acting(&seat, &[&one, &two], action)).await;
        assert_eq!(flags(), [wire, wire]);
        let list = page(&browser, &world, &back).await;
        post(&browser, &world, "/api/act_on_mail", &form(&list, "class=\"undo\"")).await;
        assert_eq!(flags(), ["", ""], "{action}");
    }
    // Messages read before stay read.
    post(&browser, &world, "/api/act_on_mail", &acting(&seat, &[&one], "read")).await;
    let back = post(&browser, &world, "/api/act_on_mail", &acting(&seat, &[&one, &two], "read")).await;
    let list = page(&browser, &world, &back).await;
    post(&browser, &world, "/api/act_on_mail", &form(&list, "class=\"undo\"")).await;
    assert_eq!(flags(), ["\\Seen", ""]);
}

/// Without a known deleted-items folder, deleting asks for one first and remembers the choice.
#[tokio::test(flavor = "multi_thread")]
async fn the_folder_for_deleted_mail_can_be_chosen() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let (seat, browser) = reader(&world, "Ablage P").await;
        world.sandbox.deliver("user@demo.example", &mail("Old"));
        let list = listed(&browser, &world, "/mail/inbox", "Old").await;
        assert!(list.contains("Folder for deleted messages") && list.contains("Ablage P"));
        let old = uid(&list, "Old");
        let refused = post(&browser, &world, "/api/act_on_mail", &acting(&seat, &[&old], "delete")).await;
        assert!(page(&browser, &world, &refused).await.contains("Choose one below the folder list"));
        assert_eq!(folder_of(&world, "Subject: Old"), "INBOX");
        let chosen = [("mailbox".to_owned(), seat.mailbox.to_string()), ("folder".to_owned(), "Nowhere".to_owned())];
        let back = post(&browser, &world, "/api/choose_deleted_folder", &chosen).await;
        assert!(page(&browser, &world, &back).await.contains("Choose another one."));
        let chosen = [("mailbox".to_owned(), seat.mailbox.to_string()), ("folder".to_owned(), "Ablage P".to_owned())];
        let back = post(&browser, &world, "/api/choose_deleted_folder", &chosen).await;
        let list = page(&browser, &world, &back).await;
        assert!(
            list.contains("Deleted messages now go to Ablage P.") && !list.contains("id=\"deleted-folder\""),
            "{list}"
        );
        post(&browser, &world, "/api/act_on_mail", &acting(&seat, &[&old], "delete")).await;
        assert_eq!(folder_of(&world, "Subject: Old"), "Ablage P");
        // The choice can be changed where it is shown.
        let path = format!("/mail/inbox?mailbox={}&folder=Ablage%20P", seat.mailbox);
        let list = page(&browser, &world, &path).await;
        assert!(list.contains("Choose another folder for deleted messages") && list.contains("id=\"deleted-folder\""));
    }
}

/// A refused folder shows its error; the mailbox and its other folders work.
#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_a_folder_stays_with_it() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        let (seat, browser) = reader(&world, "Papierkorb").await;
        world.sandbox.world().faults.imap_folder_refused = "Projects".into();
        world.sandbox.deliver("user@demo.example", &mail("Hello"));
        listed(&browser, &world, "/mail/inbox", "Hello").await;
        let projects = format!("/mail/inbox?mailbox={}&folder=Projects", seat.mailbox);
        let refused = "can't open this folder";
        let said = listed(&browser, &world, &projects, refused).await;
        assert!(said.contains("Your mailbox and its other folders work."));
        for path in ["/mail/inbox", "/account/email", "/"] {
            let page = page(&browser, &world, path).await;
            assert!(!page.contains(refused) && !page.contains("needs_reconnect"), "{path}: {page}");
        }
        // The error ends with its cause.
        world.sandbox.world().faults.imap_folder_refused = String::new();
        world.until(async || !page(&browser, &world, &projects).await.contains(refused)).await;
    }
}
