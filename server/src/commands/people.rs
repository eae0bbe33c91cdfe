//! `entrepost institution add`, `entrepost user add`.

use std::io::Read;

use app::model::{AuditAction, EmailAddress, InstitutionId, Role};
use server::clock::Clock;
use server::config::{Config, Source};
use server::service::{AddPerson, AddPersonError, Happened, Services, Who, invitation_link};
use server::store::InstitutionRow;
use server::wiring::{StartError, build};
use zeroize::Zeroizing;

use super::{Missing, note_unserved, say, services};

/// Characters of an institution's name at most.
const NAME_LENGTH: usize = 200;

/// Who acts, for the log.
const COMMAND: Who<'static> = Who::Program("command line");

/// Adds an institution and its first administrator.
pub async fn add_institution(slug: &str, name: &str, admin: &str, password_stdin: bool) -> Result<(), StartError> {
    check_slug(slug)?;
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_LENGTH || name.chars().any(char::is_control) {
        return Err(StartError::Other(format!(
            "--name: a name of 1 to {NAME_LENGTH} characters in one line is expected"
        )));
    }
    let (address, password) = (parse_address(admin)?, read_password(password_stdin)?);
    let services = services().await?;
    let row = InstitutionRow { id: InstitutionId(services.clock.uuid()), slug: slug.to_owned(), name: name.to_owned() };
    let password = password.as_ref().map(|password| password.as_str());
    if let Some(password) = password {
        services
            .check_new_password(address.as_str(), password)
            .map_err(|error| StartError::Other(error.to_string()))?;
    }
    let mut tx = services.store.begin().await?;
    match services.store.add_institution(&mut tx, &row, services.clock.now()).await {
        Err(error) if error.is_duplicate() => {
            return Err(StartError::Other(format!("the institution {slug} exists already")));
        }
        other => other?,
    }
    let role = Role::Administrator;
    let person = AddPerson { institution: row.id, address: &address, name: "", role, password, announce: None };
    let added = services.add_person_within(&mut tx, &person).await;
    let token = added.map_err(|error| StartError::Other(error.to_string()))?;
    for (action, subject) in [(AuditAction::InstitutionAdded, ""), (AuditAction::Invitation, address.as_str())] {
        let written = services.audit(&mut tx, row.id, COMMAND, Happened::new(action, subject)).await;
        written.map_err(|error| StartError::Other(error.to_string()))?;
    }
    tx.commit().await?;
    introduce(&services, &row, &address, token);
    Ok(())
}

/// Adds a person; one who was invited but has set no password gets a new link.
pub async fn add_user(slug: &str, address: &str, admin: bool, password_stdin: bool) -> Result<(), StartError> {
    let (address, password) = (parse_address(address)?, read_password(password_stdin)?);
    let config = Config::read(&Source::from_process()?)?;
    if let Some(missing) = Missing::of(&config) {
        return Err(StartError::Other(format!("{missing}: run this where the server runs, with its settings")));
    }
    let services = build(config, Clock::system()).await?;
    let row = services
        .store
        .institution_by_slug(slug)
        .await?
        .ok_or_else(|| StartError::Other(format!("there is no institution {slug}")))?;
    let role = if admin { Role::Administrator } else { Role::User };
    add_person(&services, &row, &address, role, password.as_ref().map(|password| password.as_str())).await
}

fn check_slug(slug: &str) -> Result<(), StartError> {
    let valid = !slug.is_empty()
        && slug.len() <= 63
        && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !slug.starts_with('-')
        && !slug.ends_with('-');
    if valid {
        return Ok(());
    }
    Err(StartError::Other(format!("{slug}: a slug has lower-case letters, digits and hyphens, as a host name")))
}

fn parse_address(text: &str) -> Result<EmailAddress, StartError> {
    EmailAddress::parse(text).map_err(|error| StartError::Other(format!("{text}: {error}")))
}

fn read_password(wanted: bool) -> Result<Option<Zeroizing<String>>, StartError> {
    if !wanted {
        return Ok(None);
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(4096).read_to_string(&mut text).map_err(|error| StartError::Other(error.to_string()))?;
    Ok(Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())))
}

async fn add_person(
    services: &Services,
    institution: &InstitutionRow,
    address: &EmailAddress,
    role: Role,
    password: Option<&str>,
) -> Result<(), StartError> {
    let person = AddPerson { institution: institution.id, address, name: "", role, password, announce: None };
    let added = match services.add_person(&person).await {
        Err(AddPersonError::Exists) => services.invite_again(&person).await.map_err(AddPersonError::Other),
        other => other,
    };
    let token = added.map_err(|error| StartError::Other(error.to_string()))?;
    let user = services.store.user_by_address(institution.id, address.as_str()).await?;
    if let Some(user) = user.filter(|user| user.role == Role::Administrator) {
        // The operator's way back in: its password works even where passwords are off.
        let mut tx = services.store.begin().await?;
        services.store.keep_password(&mut tx, institution.id, user.id).await?;
        let happened =
            Happened::new(AuditAction::PasswordSet, &user.address).with("Works", "where passwords are off, too");
        services
            .audit(&mut tx, institution.id, Who::Program("command line"), happened)
            .await
            .map_err(|error| StartError::Other(error.to_string()))?;
        tx.commit().await?;
    }
    introduce(services, institution, address, token);
    Ok(())
}

/// How a new person gets in: with a link, or with the password that was given.
fn introduce(services: &Services, institution: &InstitutionRow, address: &EmailAddress, token: Option<String>) {
    let public_url = services.config.public_url.of(&institution.slug);
    match token {
        None => say(&format!("{address} can sign in at {public_url}")),
        Some(token) => say(&format!(
            "{address} sets a password with this link (once, within 72 hours; an earlier one no longer works):\n{}",
            invitation_link(&public_url, &token)
        )),
    }
    note_unserved(&services.config, &institution.slug);
}
