//! The command line: output, exit codes, files.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::Database;
use app::model::{InstitutionId, RegistrationId, Role, TenantId, Timestamp};
use server::app_credentials::secret_place;
use server::clock::Clock;
use server::config::{Config, Source};
use server::store::{InstitutionRow, Registration, Slot};
use server::vault::Secret;
use server::wiring::build;

struct Answer {
    success: bool,
    out: String,
    err: String,
}

/// Runs the program in a directory with only these settings.
fn run(directory: &Path, settings: &[(&str, &str)], arguments: &[&str], input: &str) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_entrepost"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Answer {
        success: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

const ADD: [&str; 7] = ["institution", "add", "north", "--name", "North School", "--admin", "head@school.example"];

#[tokio::test]
async fn an_invited_person_gets_a_new_link_until_a_password_is_set() {
    let here = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], input: &str| run(here.path(), &[], arguments, input);
    let first = run(&ADD, "");
    assert!(first.success && first.out.contains("http://north.localhost:3000/invitation/"), "{}", first.err);
    let again = run(&["user", "add", "north", "Head@School.example"], "");
    assert!(again.success && again.out.contains("/invitation/") && again.out != first.out, "{}", again.err);

    let config = Source::of(&[
        ("ENTREPOST_DATABASE_URL", format!("sqlite://{}/data/entrepost.db", here.path().display())),
        ("ENTREPOST_MASTER_KEY_FILE", here.path().join("data/master.key").display().to_string()),
    ]);
    let services = build(Config::read(&config).unwrap(), Clock::system()).await.unwrap();
    let north = services.store.institution_by_slug("north").await.unwrap().unwrap().id;
    let head = services.store.user_by_address(north, "head@school.example").await.unwrap().unwrap();
    assert_eq!(head.role, Role::Administrator, "a new link takes no role away");
    services.store.close().await;

    let short = run(&["user", "add", "north", "one@school.example", "--password-stdin"], "short\n");
    assert!(!short.success && short.err.contains("at least 12 characters"), "{}", short.err);
    assert!(run(&["user", "add", "north", "one@school.example", "--password-stdin"], "long enough now\n").success);
    let taken = run(&["user", "add", "north", "one@school.example"], "");
    assert!(!taken.success && taken.err.contains("has an account"), "{}", taken.err);

    assert!(run(&["user", "add", "north", "two@school.example"], "").success);
    let set = run(&["user", "add", "north", "two@school.example", "--password-stdin"], "long enough now\n");
    assert!(set.success && set.out.contains("can sign in"), "{}", set.err);

    let twice = run(&ADD, "");
    assert!(!twice.success && twice.err.contains("exists already"), "{}", twice.err);
}

#[test]
fn wrong_arguments_and_settings_leave_nothing_behind() {
    let here = tempfile::tempdir().unwrap();
    let refused = |settings: &[(&str, &str)], arguments: &[&str], says: &str| {
        let answer = run(here.path(), settings, arguments, "short");
        assert!(!answer.success && answer.err.contains(says), "{arguments:?}: {}", answer.err);
    };
    let add = |slug, name| ["institution", "add", slug, "--name", name, "--admin", "head@school.example"];
    refused(&[], &add("North School", "x"), "a slug has lower-case letters");
    refused(&[], &add("north", "  "), "a name of 1 to 200 characters");
    refused(&[], &[&ADD[..], &["--password-stdin"]].concat(), "at least 12 characters");
    refused(&[("ENTREPOST_LOG", "loud=noise")], &["doctor"], "ENTREPOST_LOG");
    std::fs::write(here.path().join("entrepost.toml"), "ENTREPOST_PUBLIC_ULR = \"https://x.example\"").unwrap();
    refused(&[], &["doctor"], "did you mean ENTREPOST_PUBLIC_URL");
    std::fs::write(here.path().join("entrepost.toml"), "ENTREPOST_LISTEN = \"127.0.0.1:1\"\nmarked secret").unwrap();
    let broken = run(here.path(), &[], &["doctor"], "");
    assert!(broken.err.contains("line 2") && !broken.err.contains("marked"), "{}", broken.err);
    std::fs::remove_file(here.path().join("entrepost.toml")).unwrap();
    // Only the refused password reached the database, which has no institution.
    let added = run(here.path(), &[], &ADD, "");
    assert!(added.success, "{}", added.err);
}

#[test]
fn the_doctor_says_what_fails_and_so_does_its_exit_code() {
    let here = tempfile::tempdir().unwrap();
    let closed = "127.0.0.1:1";
    let settings = [
        ("ENTREPOST_MICROSOFT_AUTHORITY", "http://127.0.0.1:1"),
        ("ENTREPOST_MICROSOFT_SMTP", closed),
        ("ENTREPOST_MICROSOFT_IMAP", closed),
        ("LEPTOS_SITE_ROOT", "nowhere"),
    ];
    let answer = run(here.path(), &settings, &["doctor"], "");
    assert!(!answer.success && answer.err.contains("4 checks failed"), "{}{}", answer.out, answer.err);
    assert!(
        answer.out.contains("FAIL  SMTP 127.0.0.1:1")
            && answer.out.contains("FAIL  the site's files are not at nowhere")
    );
    let serve = run(here.path(), &settings, &["serve"], "");
    assert!(!serve.success && serve.err.contains("the site's files are not at nowhere"), "{}", serve.err);
}

#[test]
fn looking_makes_nothing_and_links_that_lead_nowhere_are_noted() {
    let here = tempfile::tempdir().unwrap();
    let run = |settings: &[(&str, &str)], arguments: &[&str]| run(here.path(), settings, arguments, "");
    let looked = run(&[], &["doctor"]);
    assert!(
        looked.out.contains("there is no database at") && looked.out.contains("data/entrepost.db"),
        "{}",
        looked.out
    );
    let rotated = run(&[], &["key", "rotate"]);
    assert!(!rotated.success && rotated.err.contains("in which the server runs"), "{}", rotated.err);
    let added = run(&[], &["user", "add", "north", "jane@north.example"]);
    assert!(!added.success && added.err.contains("there is no database at"), "{}", added.err);
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "none made anything");

    let only = |slug| [("ENTREPOST_PUBLIC_URL", "http://localhost:3000"), ("ENTREPOST_DEFAULT_INSTITUTION", slug)];
    let added = run(&only("south"), &ADD);
    assert!(added.success && added.out.contains("only south is served"), "{}{}", added.out, added.err);
    assert!(run(&only("south"), &["doctor"]).out.contains("FAIL  ENTREPOST_DEFAULT_INSTITUTION = south"));
    assert!(run(&only("north"), &["doctor"]).out.contains("1 institution, at http://localhost:3000"));
    let key = here.path().join("data/master.key");
    std::fs::rename(&key, here.path().join("elsewhere")).unwrap();
    let lost = run(&[], &["doctor"]);
    assert!(!lost.success && lost.out.contains("FAIL  there is no master key at"), "{}", lost.out);
    assert!(!key.exists(), "a new key would open nothing");
    std::fs::rename(here.path().join("elsewhere"), &key).unwrap();

    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = busy.local_addr().unwrap().to_string();
    let refused = run(&[("ENTREPOST_LISTEN", &listen)], &["key", "rotate"]);
    assert!(!refused.success && refused.err.contains("stop it first"), "{}", refused.err);
    let taken = run(&[], &["sandbox", "--entra-port", listen.rsplit(':').next().unwrap()]);
    assert!(!taken.success && taken.err.contains("--entra-port"), "{}", taken.err);
}

#[tokio::test]
async fn a_rotated_key_seals_everything_anew() {
    let (database, here) = (Database::sqlite(), tempfile::tempdir().unwrap());
    let key = here.path().join("master.key").display().to_string();
    let settings = [
        ("ENTREPOST_LISTEN", "127.0.0.1:0"),
        ("ENTREPOST_DATABASE_URL", database.url.as_str()),
        ("ENTREPOST_MASTER_KEY_FILE", key.as_str()),
    ];
    let open = || async {
        let owned = settings.map(|(name, value)| (name, value.to_owned()));
        build(Config::read(&Source::of(&owned)).unwrap(), Clock::system()).await.unwrap()
    };
    let services = open().await;
    let old = services.vault.key_id().to_owned();
    let row = InstitutionRow { id: InstitutionId(services.clock.uuid()), slug: "north".into(), name: "North".into() };
    let client = app::model::ClientId::parse("0f8fad5b-d9cb-469f-a165-70867728950e").unwrap();
    let (id, tenant) = (RegistrationId(services.clock.uuid()), TenantId(services.clock.uuid()));
    let mut registration = Registration::new(id, client, tenant, Timestamp(1));
    registration.secret_sealed =
        services.vault.seal(&secret_place(&registration), &Secret::new("a secret".into())).unwrap();
    let mut tx = services.store.begin().await.unwrap();
    services.store.add_institution(&mut tx, &row, services.clock.now()).await.unwrap();
    services.store.put_registration(&mut tx, row.id, Slot::Current, &registration, Timestamp(1)).await.unwrap();
    tx.commit().await.unwrap();
    services.store.close().await;

    let answer = run(here.path(), &settings, &["key", "rotate"], "");
    assert!(answer.success && answer.out.contains("re-encrypted one secret"), "{}{}", answer.out, answer.err);
    // The old key is no longer needed.
    let keys = std::fs::read_to_string(&key).unwrap();
    let newest = keys.lines().next().unwrap();
    std::fs::write(&key, format!("{newest}\n")).unwrap();
    let services = open().await;
    assert_ne!(services.vault.key_id(), old);
    let stored = services.store.registration(row.id, Slot::Current).await.unwrap().unwrap();
    assert_ne!(stored.secret_sealed, registration.secret_sealed);
    let secret = services.vault.open(&secret_place(&stored), &stored.secret_sealed).unwrap();
    assert_eq!(secret.expose(), "a secret");
    services.store.close().await;
}
