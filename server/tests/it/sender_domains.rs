//! What senders' domains publish, looked up with a DNS server on loopback.

use sandbox::DnsRecord;

use crate::common::{Browser, Database, World};

const HEALTH: &str = "/institution/mail-health";

fn txt(text: &str) -> DnsRecord {
    DnsRecord::Txt(text.to_owned())
}

fn publish(world: &World, name: &str, records: Vec<DnsRecord>) {
    world.sandbox.world().dns.insert(name.to_owned(), records);
}

/// Looks again and returns the shown verdict and text of a record of `demo.example`.
async fn record(browser: &Browser, world: &World, name: &str) -> (String, String) {
    browser.post(&world.url("demo", "/api/look_up_domains"), &[]).await;
    let page = browser.get(&world.url("demo", HEALTH)).await.text().await.unwrap();
    let domain = page.split("data-domain=\"demo.example\"").nth(1).unwrap_or_else(|| panic!("{page}"));
    let record = domain.split(&format!("data-record=\"{name}\"")).nth(1).unwrap_or_else(|| panic!("{domain}"));
    let record = record.split("data-record=").next().unwrap();
    let verdict = record.split("data-verdict=\"").nth(1).unwrap().split('"').next().unwrap();
    (verdict.to_owned(), record.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_a_domain_can_be_published_is_judged() {
    for database in Database::both().await {
        let world = World::start(&database).await;
        world.seat("user@demo.example").await;
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        let page = admin.get(&world.url("demo", HEALTH)).await.text().await.unwrap();
        assert!(!page.contains("data-domain="), "not collected yet");
        world.services.look_up_domains().await.unwrap();
        let page = admin.get(&world.url("demo", HEALTH)).await.text().await.unwrap();
        assert!(page.contains("data-domain=\"demo.example\""), "{page}");

        let outlook = "v=spf1 include:spf.protection.outlook.com -all";
        let includes = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("include:s{n}.example")).collect();
            format!("v=spf1 include:spf.protection.outlook.com {} -all", names.join(" "))
        };
        for n in 0..12 {
            publish(&world, &format!("s{n}.example"), vec![txt("v=spf1 ip4:192.0.2.1 -all")]);
        }
        publish(
            &world,
            "around.example",
            vec![txt("v=spf1 include:around.example include:spf.protection.outlook.com ~all")],
        );
        publish(&world, "nested.example", vec![txt(outlook)]);
        publish(&world, "lame.example", vec![DnsRecord::Fails]);
        let long = format!("v=spf1 {} include:spf.protection.outlook.com -all", "ip4:192.0.2.77 ".repeat(30));
        let mut many: Vec<DnsRecord> = (0..25).map(|n| txt(&format!("check={n}"))).collect();
        many.push(txt(outlook));
        for (records, verdict, says) in [
            (vec![txt(outlook)], "good", "1 of 10 look-ups"),
            (vec![txt("MS=ms1234"), txt(&outlook.to_uppercase().replace("V=SPF1", "v=spf1"))], "good", "One record"),
            (vec![txt(&long)], "good", "One record"),
            (vec![txt("v=spf1 redirect=nested.example")], "good", "2 of 10 look-ups"),
            (vec![txt("MS=ms1234")], "problem", "v=spf1 include:spf.protection.outlook.com -all"),
            (vec![txt(outlook), txt("v=spf1 mx -all")], "problem", "There are 2 SPF records"),
            (vec![txt("v=spf1 mx -all")], "problem", "v=spf1 mx include:spf.protection.outlook.com -all"),
            (vec![txt("v=spf1 mx -all include:spf.protection.outlook.com")], "problem", "allow Exchange Online"),
            (vec![txt("v=spf1 redirect=spf.protection.outlook.com mx ~all")], "problem", "allow Exchange Online"),
            (vec![txt("v=spf1 ?include:spf.protection.outlook.com -all")], "problem", "allow Exchange Online"),
            (vec![txt("v=spf1 include:%{d}.hosted.example -all")], "not known", "depends on each message"),
            (vec![txt("v=spf1 ip4:192.0.2.0/24 -all")], "could be better", "go out of date"),
            (many, "good", "One record"),
            (vec![txt(&includes(9))], "good", "10 of 10"),
            (vec![txt(&includes(10))], "problem", "more than 10 look-ups"),
            (vec![txt("v=spf1 include:around.example -all")], "problem", "more than 10 look-ups"),
            (vec![txt("v=spf1 include:gone.example -all")], "problem", "gone.example, which has no SPF record"),
            (vec![txt("v=spf1 include:spf.protection.outlook.com +all")], "problem", "lets everyone send"),
            (vec![txt("v=spf1 include:spf.protection.outlook.com")], "could be better", "End it with -all"),
            (vec![txt("v=spf1 include:lame.example -all")], "not known", "lame.example"),
            (vec![DnsRecord::Fails], "not known", "The look-up failed"),
        ] {
            publish(&world, "demo.example", records.clone());
            let (judged, text) = record(&admin, &world, "SPF").await;
            assert!(judged == verdict && text.contains(says), "{records:?}: {judged}: {text}");
        }

        let (key, gone) = ("v=DKIM1; k=rsa; p=MIIB", "v=DKIM1; p=");
        let (one, two) = ("selector1._domainkey.demo.example", "selector2._domainkey.demo.example");
        for (first, second, verdict) in [
            (Some(txt(key)), Some(txt(key)), "good"),
            (None, Some(txt(key)), "good"),
            (Some(DnsRecord::Cname("nowhere.example".to_owned())), Some(txt(gone)), "could be better"),
            (None, None, "could be better"),
            (None, Some(DnsRecord::Fails), "not known"),
        ] {
            for (name, record) in [(one, &first), (two, &second)] {
                world.sandbox.world().dns.remove(name);
                if let Some(record) = record {
                    publish(&world, name, vec![record.clone()]);
                }
            }
            let (judged, text) = record(&admin, &world, "DKIM").await;
            assert_eq!(judged, verdict, "{first:?} {second:?}: {text}");
            let asks = text.contains("Get-DkimSigningConfig demo.example | fl Selector1CNAME,Selector2CNAME");
            assert_eq!(asks, verdict == "could be better");
        }

        for (records, verdict, says) in [
            (vec![], "could be better", "_dmarc.demo.example"),
            (vec![txt("v=DMARC1; p=none")], "good", "The policy is none"),
            (vec![txt("v=DMARC1;p=Reject;rua=mailto:a@b.example")], "good", "The policy is reject"),
            (vec![txt("v=DMARC1; p=none"), txt("v=DMARC1; p=reject")], "problem", "There are 2 DMARC records"),
            (vec![txt("v=DMARC1; rua=mailto:a@b.example")], "problem", "no policy"),
            (vec![txt("something else")], "could be better", "There is no DMARC record"),
            (vec![DnsRecord::Fails], "not known", "The look-up failed"),
        ] {
            world.sandbox.world().dns.remove("_dmarc.demo.example");
            if !records.is_empty() {
                publish(&world, "_dmarc.demo.example", records.clone());
            }
            let (judged, text) = record(&admin, &world, "DMARC").await;
            assert!(judged == verdict && text.contains(says), "{records:?}: {judged}: {text}");
        }

        publish(
            &world,
            "demo.example",
            vec![DnsRecord::Mx(20, "b.example".into()), DnsRecord::Mx(10, "a.example".into())],
        );
        let (judged, text) = record(&admin, &world, "MX").await;
        assert!(judged == "information" && text.find("a.example") < text.find("b.example"), "{text}");
        world.services.store.close().await;
    }
}

/// Text of a foreign zone is shown as text.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_zone_is_shown_as_text() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    world.seat("user@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let evil = format!("v=spf1 include:<script>alert(1)</script> \u{0}\u{202e}{}", "x".repeat(3_000));
    publish(&world, "demo.example", vec![txt(&evil)]);
    let (judged, text) = record(&admin, &world, "SPF").await;
    assert!(!text.contains("<script>alert") && text.len() < 8_000, "{judged}: {text}");
    world.services.store.close().await;
}

/// Domains are looked up once a day, and leave with their last mailbox; no DNS server delays anything.
#[tokio::test(flavor = "multi_thread")]
async fn domains_are_looked_up_once_a_day() {
    for database in Database::both().await {
        let clock = server::clock::Clock::manual(server::clock::Clock::system().now());
        let world = World::start_with(&database, clock.clone(), &[]).await;
        let seat = world.seat("user@demo.example").await;
        world.services.look_up_domains().await.unwrap();
        let store = &world.services.store;
        let first = store.sender_domains(seat.institution, 10).await.unwrap();
        assert_eq!((first.len(), first[0].domain.as_str()), (1, "demo.example"));
        let due = async || store.due_sender_domains(clock.now(), 10).await.unwrap().len();
        assert_eq!(due().await, 0);
        clock.advance_ms(24 * 60 * 60 * 1000);
        assert_eq!(due().await, 1);
        publish(&world, "demo.example", vec![DnsRecord::Fails]);
        world.services.look_up_domains().await.unwrap();
        clock.advance_ms(11 * 60 * 1000);
        assert_eq!(due().await, 1, "a failure is tried again soon");
        let row = &store.due_sender_domains(clock.now(), 10).await.unwrap()[0];
        let next = clock.now().plus_ms(1_000);
        assert!(store.claim_sender_domain(row, next).await.unwrap());
        assert!(!store.claim_sender_domain(row, next).await.unwrap(), "another replica has it");
        let mut tx = store.begin().await.unwrap();
        store.drop_mailbox(&mut tx, seat.key()).await.unwrap();
        tx.commit().await.unwrap();
        store.collect_sender_domains(clock.now()).await.unwrap();
        assert!(store.sender_domains(seat.institution, 10).await.unwrap().is_empty());
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_dns_server_is_said() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = [("ENTREPOST_DNS_SERVERS", socket.local_addr().unwrap().to_string())];
    let database = Database::sqlite();
    let world = World::start_with(&database, server::clock::Clock::system(), &silent).await;
    world.seat("user@demo.example").await;
    let admin = Browser::new(&world);
    admin.sign_in(&world, "demo", "admin@demo.example").await;
    let (judged, text) = record(&admin, &world, "SPF").await;
    assert!(judged == "not known" && text.contains("The look-up failed"), "{text}");
    world.services.store.close().await;
}
