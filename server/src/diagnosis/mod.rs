//! Turns errors into cause, who can fix it, steps, and facts. `causes` and `rules` are data; this file joins them.

mod blanks;
mod causes;
mod rules;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use app::model::{
    BEFORE_COMMANDS, Diagnosis, EMAIL_CONFIG_PATH, EmailState, Evidence, FixedBy, Help, Instruction, Remedy, Timestamp,
    portal_page,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::config::{Clouds, ServerAddress};
use crate::identity::{IdTokenError, IdentityError, OAuthError};
use crate::mail::MailError;

use blanks::Blanks;

pub use blanks::powershell;
pub use rules::{bounce_cause, graph_cause, imap_cause, oauth_cause, smtp_cause};

/// A stored fault: the cause and the raw facts. The words are made for each reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub cause: String,
    /// Raw answer, codes, ids, time.
    pub facts: Vec<(String, String)>,
}

/// What the texts are filled with, and who reads them.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    pub administrator: bool,
    pub colleague: bool,
    pub address: String,
    pub institution: String,
    pub redirect_uri: String,
    pub support_contact: Option<String>,
    pub public_url: String,
    /// Where an administrator of the tenant consents, if the registration is known.
    pub consent_link: Option<String>,
    /// The registration's, where its pages in the Entra portal are known.
    pub client_id: Option<String>,
    /// This server's outgoing address, which Conditional Access checks.
    pub outbound_address: Option<String>,
    /// To name the cloud that an answer means.
    pub clouds: Option<Clouds>,
}

/// Stands for each mailbox in a command until it is filled in. PowerShell needs no quotes around it.
const EACH: &str = "each.mailbox@example";
/// The fact that says which recipient was refused.
const RECIPIENT: &str = "Recipient";
/// The fact that says who had signed in.
const SIGN_IN_NAME: &str = "Signed in as";
/// The fact that holds the `error` of an OAuth answer.
const ERROR: &str = "Error";
/// The fact that holds Microsoft's numbers.
const CODE: &str = "Code";

impl Fault {
    pub fn new(cause: &str, at: Timestamp, facts: &[(&str, String)]) -> Self {
        let mut facts: Vec<(String, String)> =
            facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        facts.push(("Time".into(), at.utc_text()));
        Self { cause: cause.to_owned(), facts }
    }

    pub fn identity(error: &IdentityError, at: Timestamp) -> Self {
        let cause = match error {
            IdentityError::OAuth { answer, .. } => oauth_cause(answer),
            IdentityError::Unreachable { .. } => "authority_unreachable",
            IdentityError::Unavailable { .. } => "authority_unavailable",
            IdentityError::Protocol { .. } => "authority_protocol",
        };
        let mut facts = Vec::new();
        match error {
            IdentityError::OAuth { answer, status, .. } => {
                facts.push(("HTTP status", status.to_string()));
                oauth_facts(answer, &mut facts);
            }
            other => facts.push(("Answer", other.to_string())),
        }
        Self::new(cause, at, &facts)
    }

    pub fn callback(error: &OAuthError, at: Timestamp) -> Self {
        let mut facts = Vec::new();
        oauth_facts(error, &mut facts);
        Self::new(oauth_cause(error), at, &facts)
    }

    /// An id_token that does not hold.
    pub fn id_token(error: &IdTokenError, at: Timestamp) -> Self {
        Self::new("id_token_invalid", at, &[("Check", error.to_string())])
    }

    pub fn smtp(error: &MailError, server: &ServerAddress, at: Timestamp) -> Self {
        Self::new(smtp_cause(error), at, &mail_facts(error, server))
    }

    pub fn graph(error: &MailError, host: &str, at: Timestamp) -> Self {
        let facts = [("Host", host.to_owned()), ("Step", error.step.name().to_owned()), ("Answer", error.text.clone())];
        Self::new(graph_cause(error), at, &facts)
    }

    /// Whether SMTP is switched off for the mailbox (5.7.139, in any of its texts).
    pub fn is_smtp_switched_off(&self) -> bool {
        ["smtp_auth_mailbox", "smtp_auth_tenant", "smtp_auth_security_defaults", "smtp_auth_policy"]
            .contains(&self.cause.as_str())
    }

    /// What the authority refused was for Graph alone.
    pub fn of_graph(mut self) -> Self {
        if ["consent_missing", "permissions_missing", "authority_refused"].contains(&self.cause.as_str()) {
            self.cause = "graph_consent".into();
        }
        self
    }

    pub fn imap(error: &MailError, server: &ServerAddress, at: Timestamp) -> Self {
        Self::new(imap_cause(error), at, &mail_facts(error, server))
    }

    /// Whether the authority refused; otherwise its answer did not come, or does not hold.
    pub fn is_refusal(&self) -> bool {
        self.cause != "our_bug" && self.facts.iter().any(|(name, _)| name == ERROR)
    }

    /// Whether it concerns the app itself, so that no one can sign in by it.
    pub fn is_of_app(&self) -> bool {
        EmailState::is_of_app(&self.cause)
    }

    pub fn of_recipient(mut self, address: &str) -> Self {
        self.facts.push((RECIPIENT.into(), address.to_owned()));
        self
    }

    /// The same with every fact's value changed.
    pub fn with_facts(&self, change: impl Fn(&str) -> String) -> Self {
        let facts = self.facts.iter().map(|(name, value)| (name.clone(), change(value)));
        Self { cause: self.cause.clone(), facts: facts.collect() }
    }

    /// The account of a grant that existed was there: it left, or moved to another tenant.
    pub fn of_kept_grant(mut self) -> Self {
        if self.cause == "foreign_account" {
            self.cause = "account_gone".into();
        }
        self
    }

    pub fn of_folder(mut self) -> Self {
        self.cause = "imap_folder".into();
        self
    }

    pub fn signed_in_as(mut self, name: &str) -> Self {
        self.facts.push((SIGN_IN_NAME.into(), name.to_owned()));
        self
    }

    /// A log line for operators: the cause and its facts, which never contain a secret.
    pub fn log(&self, about: impl std::fmt::Display, step: &str) {
        let facts: Vec<String> = self.facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let facts = facts.join("; ").replace(char::is_control, " ");
        tracing::warn!(%about, step, cause = self.cause, "{facts}");
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses a stored fault; an unreadable one becomes `unknown`.
    pub fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self { cause: "unknown".into(), facts: Vec::new() })
    }

    /// The clouds that Microsoft's answer names.
    fn named_clouds(&self, reader: &Reader) -> Option<String> {
        let clouds = reader.clouds.as_ref().filter(|_| self.cause == "other_cloud")?;
        let named = self.facts.iter().flat_map(|(_, value)| clouds.named_by(value));
        let labels: BTreeSet<&str> = named.map(|cloud| cloud.label.as_str()).collect();
        (!labels.is_empty()).then(|| labels.into_iter().collect::<Vec<_>>().join(" or "))
    }

    pub fn explain(&self, reader: &Reader) -> Diagnosis {
        let signed_in_as = self.facts.iter().find(|(name, _)| name == SIGN_IN_NAME).map(|(_, name)| name.as_str());
        // A mailbox that may not send as itself needs no permission to send as itself.
        let itself = self.cause == "send_as_denied"
            && signed_in_as.is_some_and(|name| name.eq_ignore_ascii_case(reader.address.trim()));
        let cause = causes::find(if itself { "send_as_itself" } else { &self.cause });
        // Save concerns no mailbox, so no address is known.
        let mailbox = if reader.address.is_empty() { "the account" } else { reader.address.as_str() };
        // A refusal of one recipient concerns that recipient, not the sender.
        let recipient = self.facts.iter().find(|(name, _)| name == RECIPIENT).map(|(_, address)| address.as_str());
        let address = recipient.unwrap_or(mailbox);
        let trustee = signed_in_as.unwrap_or("the account");
        let portal = |blade| portal_page(reader.client_id.as_deref().unwrap_or_default(), blade);
        let values = vec![
            ("address", address.into()),
            ("mailbox", mailbox.into()),
            ("sign_in_name", trustee.into()),
            ("redirect_uri", reader.redirect_uri.as_str().into()),
            ("config_page", format!("{}{EMAIL_CONFIG_PATH}", reader.public_url).into()),
            ("consent_link", reader.consent_link.as_deref().unwrap_or_default().into()),
            ("portal_secrets", portal("Credentials").into()),
            ("portal_overview", portal("Overview").into()),
            ("outbound_address", reader.outbound_address.as_deref().unwrap_or("ask your Entrepost host").into()),
            ("error_page", self.error_page().into()),
            ("cloud", self.named_clouds(reader).unwrap_or_else(|| "the tenant's cloud".to_owned()).into()),
        ];
        let known = [
            ("sign_in_name", signed_in_as.is_some()),
            ("consent_link", reader.consent_link.is_some()),
            ("portal_secrets", reader.client_id.is_some()),
            ("portal_overview", reader.client_id.is_some()),
        ];
        let unknown = known.into_iter().filter(|(_, known)| !known).map(|(name, _)| name).collect();
        let blanks = Blanks { values, unknown };
        let fill = |text: &str| blanks.fill(text);
        let mut steps: Vec<Instruction> = cause.steps.iter().filter_map(|step| step.filled(&blanks)).collect();
        if reader.administrator {
            steps.iter_mut().for_each(|step| step.by_administrator = false);
        }
        let mut evidence = Evidence { facts: self.facts.clone() };
        if let Some(outbound) = reader.outbound_address.as_ref().filter(|_| cause.name == "conditional_access") {
            evidence.facts.push(("This server connects from".into(), outbound.clone()));
        }
        let message_for_administrator =
            (!reader.administrator).then(|| message(reader, &fill(cause.administrator_summary), &steps, &evidence));
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        // https://learn.microsoft.com/microsoftteams/platform/concepts/build-and-test/share-to-teams-from-web-apps
        let teams_share = message_for_administrator.as_ref().map(|_| {
            let text =
                format!("Email of {mailbox} in Entrepost: {} {}", fill(cause.title), fill(cause.administrator_summary));
            let page = format!("{}{EMAIL_CONFIG_PATH}", reader.public_url);
            format!("https://teams.microsoft.com/share?href={}&msgText={}", escaped(&page), escaped(&text))
        });
        let mailto = message_for_administrator.as_deref().map(|message| {
            // RFC 6068, section 5: line breaks are CR LF.
            let body = message.replace('\n', "\r\n");
            format!("mailto:?subject={}&body={}", escaped(&format!("Email of {mailbox} in Entrepost")), escaped(&body))
        });
        // An administrator's own mailbox is theirs to fix, like anyone's.
        let is_own = cause.fixed_by == FixedBy::You && !reader.colleague && !reader.address.is_empty();
        // "Ask your administrator" would not help an administrator.
        let fixed_by = match cause.fixed_by {
            FixedBy::Administrator if reader.administrator => FixedBy::You,
            // People don't know who runs the server; administrators do.
            FixedBy::Operator if !reader.administrator => FixedBy::Administrator,
            FixedBy::You if reader.colleague => FixedBy::Owner,
            other => other,
        };
        Diagnosis {
            cause: cause.name.to_owned(),
            title: fill(if reader.administrator { cause.title } else { causes::title_for_people(cause) }),
            summary: fill(if reader.administrator && !is_own { cause.administrator_summary } else { cause.summary }),
            fixed_by,
            steps,
            remedy: cause.remedy,
            evidence,
            message_for_administrator,
            mailto,
            teams_share,
            support_contact: reader.support_contact.clone(),
        }
    }

    /// For an administrator, about all mailboxes that this cause stops: each command is for exactly these.
    pub fn explain_for_all(&self, reader: &Reader, addresses: &[String]) -> Diagnosis {
        // Whose mailboxes they are isn't asked: each is its owner's.
        let reader = &Reader { colleague: true, ..reader.clone() };
        if let [one] = addresses {
            return self.explain(&Reader { address: one.clone(), ..reader.clone() });
        }
        // What is said of one of them does not hold for the others.
        let shared = Self { cause: self.cause.clone(), facts: Vec::new() };
        let mut diagnosis = shared.explain(&Reader { address: "these mailboxes".into(), ..reader.clone() });
        let of_each = shared.explain(&Reader { address: EACH.into(), ..reader.clone() });
        let listed: Vec<String> = addresses.iter().map(|address| quoted(address)).collect();
        for (step, each) in diagnosis.steps.iter_mut().zip(of_each.steps) {
            if let Some(Help::Command(command)) = each.help.filter(|help| help.as_str().contains(EACH)) {
                let each = command.replace(EACH, "$_");
                step.help = Some(Help::Command(format!("{} | ForEach-Object {{ {each} }}", listed.join(","))));
            }
        }
        diagnosis
    }

    /// Microsoft's page of sign-in errors, at its first number.
    fn error_page(&self) -> String {
        let code =
            self.facts.iter().find(|(name, _)| name == CODE).map(|(_, codes)| codes.as_str()).unwrap_or_default();
        let digits: String = code.trim_start_matches("AADSTS").chars().take_while(char::is_ascii_digit).collect();
        let query = if digits.is_empty() { String::new() } else { format!("?code={digits}") };
        format!("https://login.microsoftonline.com/error{query}")
    }

    pub fn remedy(&self) -> Remedy {
        causes::find(&self.cause).remedy
    }
}

/// An address as a PowerShell string.
fn quoted(address: &str) -> String {
    let text = powershell(address);
    if text.starts_with('\'') { text } else { format!("'{text}'") }
}

fn message(reader: &Reader, summary: &str, steps: &[Instruction], evidence: &Evidence) -> String {
    let mut text = format!(
        "Hello,\n\nI can't use {} in Entrepost ({}, {}). {summary}\n",
        reader.address, reader.institution, reader.public_url
    );
    if !steps.is_empty() {
        text.push_str("\nPlease:\n");
    }
    for (at, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "{}. {}", at + 1, step.text);
        if let Some(help) = &step.help {
            let _ = writeln!(text, "   {}", help.as_str());
        }
    }
    if steps.iter().any(|step| matches!(step.help, Some(Help::Command(_)))) {
        let _ = writeln!(text, "\nThe commands are for Exchange Online PowerShell, after {BEFORE_COMMANDS}.");
    }
    let _ =
        write!(text, "\nLet me know when that's done and I'll retest.\n\nTechnical details:\n{}", evidence.as_text());
    text
}

fn oauth_facts(error: &OAuthError, facts: &mut Vec<(&'static str, String)>) {
    facts.push((ERROR, error.error.clone()));
    let codes: Vec<String> = error.codes().iter().map(|code| format!("AADSTS{code}")).collect();
    let optional = [
        (CODE, (!codes.is_empty()).then(|| codes.join(", "))),
        ("Suberror", error.suberror.clone()),
        ("Answer", error.error_description.clone()),
        ("Trace ID", error.trace_id.clone()),
        ("Correlation ID", error.correlation_id.clone()),
        ("Microsoft’s time", error.timestamp.clone()),
    ];
    facts.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
}

fn mail_facts(error: &MailError, server: &ServerAddress) -> Vec<(&'static str, String)> {
    let answer = error.code().map_or_else(|| error.text.clone(), |code| format!("{code} {}", error.text));
    vec![("Server", server.to_string()), ("Step", error.step.name().to_owned()), ("Answer", answer)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_fit_the_reader_and_what_is_known() {
        let fault = Fault { cause: "send_as_denied".into(), facts: Vec::new() }.signed_in_as("jane@school.example");
        let reader = Reader { administrator: true, address: "office@school.example".into(), ..Reader::default() };
        let command = fault.explain(&reader).steps[0].help.clone().unwrap();
        assert_eq!(
            command.as_str(),
            "Add-RecipientPermission -Identity office@school.example -Trustee jane@school.example -AccessRights SendAs"
        );
        let revoked = Fault { cause: "grant_revoked".into(), facts: Vec::new() };
        assert_eq!(revoked.explain(&reader).fixed_by, FixedBy::You);
        assert_eq!(revoked.explain(&Reader { colleague: true, ..reader }).fixed_by, FixedBy::Owner);
        let nobody = Fault { cause: "conditional_access".into(), facts: Vec::new() }.explain(&Reader::default());
        assert!(nobody.steps[0].text.contains("find the policy that blocked the account."), "{}", nobody.steps[0].text);
    }

    #[test]
    fn one_command_is_for_all_mailboxes_of_a_cause() {
        let reader = Reader { administrator: true, ..Reader::default() };
        let fault = fault("smtp_auth_mailbox", &[(SIGN_IN_NAME, "a@school.example")]);
        let commands = |addresses: &[&str]| -> Vec<String> {
            let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
            let steps = fault.explain_for_all(&reader, &addresses).steps;
            let help = steps.into_iter().filter_map(|step| step.help);
            help.filter(|help| matches!(help, Help::Command(_))).map(|help| help.as_str().to_owned()).collect()
        };
        let all = commands(&["a@school.example", "o'brien@school.example"]);
        assert!(
            all.iter().any(|command| command.starts_with(
                "'a@school.example','o''brien@school.example' | ForEach-Object { Set-CASMailbox -Identity $_ "
            )),
            "{all:?}"
        );
        assert!(commands(&["a@school.example"])[0].starts_with("Set-CASMailbox -Identity a@school.example "));
        assert!(!all.iter().any(|command| command.contains("each.mailbox")));
    }

    fn fault(cause: &str, facts: &[(&str, &str)]) -> Fault {
        let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Fault { cause: cause.into(), facts }
    }

    fn user() -> Reader {
        Reader {
            address: "jane@school.example".into(),
            institution: "School".into(),
            public_url: "https://mail.school.example".into(),
            ..Reader::default()
        }
    }

    /// What each diagnosis must name, so that people need not search: places in the portals, commands, reports.
    #[test]
    fn each_diagnosis_names_what_mends_it() {
        let administrator = Reader { administrator: true, ..user() };
        for (cause, facts, wanted) in [
            ("smtp_auth_tenant", &[][..], &["Option A", "Option B", "Turn off SMTP AUTH"][..]),
            ("smtp_auth_mailbox", &[], &["Set-CASMailbox -Identity jane@school.example"]),
            ("imap_disabled", &[], &["Set-CASMailbox", "licence"]),
            ("smtp_tenant_limit", &[], &["Reports › Mail flow › Tenant outbound external recipients"]),
            ("conditional_access", &[], &["Sign-in logs", "non-interactive"]),
            (
                "send_as_denied",
                &[(SIGN_IN_NAME, "office@school.example")],
                &[
                    "Add-RecipientPermission",
                    "-SendFromAliasEnabled $true",
                    "Get-Mailbox -Identity office@school.example",
                ],
            ),
        ] {
            let explained = fault(cause, facts).explain(&administrator);
            let all: String = explained.steps.iter().map(|step| format!("{} {:?}\n", step.text, step)).collect();
            for part in wanted {
                assert!(all.contains(part), "{cause}: {part}: {all}");
            }
        }
        let itself = fault("send_as_denied", &[(SIGN_IN_NAME, "Jane@school.example")]).explain(&administrator);
        let all = format!("{:?}", itself.steps);
        assert!(!all.contains("Add-RecipientPermission") && all.contains("EmailAddresses"), "{all}");
    }

    #[test]
    fn the_message_for_the_administrator_has_all_that_is_needed() {
        let link = "https://login.microsoftonline.com/t/v2.0/adminconsent?client_id=1";
        let reader = Reader { consent_link: Some(link.into()), ..user() };
        let told = fault("consent_missing", &[]).explain(&reader);
        let message = told.message_for_administrator.unwrap();
        assert!(message.contains(link), "{message}");
        assert!(message.contains("https://mail.school.example/institution/config/general/email"), "{message}");
        let mailto = told.mailto.unwrap();
        assert!(mailto.starts_with("mailto:?subject=Email%20of%20jane") && mailto.contains("%0D%0A"), "{mailto}");
        assert!(!mailto.contains([' ', '\n', '"', '<']), "{mailto}");
        let teams = told.teams_share.unwrap();
        let page = "href=https%3A%2F%2Fmail%2Eschool%2Eexample%2Finstitution%2Fconfig%2Fgeneral%2Femail&msgText=Email%20of%20jane";
        assert!(teams.starts_with("https://teams.microsoft.com/share?") && teams.contains(page), "{teams}");
        // Without a registration there is no link, and no step that has one.
        let told = fault("consent_missing", &[]).explain(&user());
        assert!(told.steps.iter().all(|step| step.help.is_none()), "{:?}", told.steps);
        let off = fault("smtp_auth_mailbox", &[]).explain(&user()).message_for_administrator.unwrap();
        assert!(off.contains("Set-CASMailbox -Identity jane@school.example") && off.contains("Connect-ExchangeOnline"));
    }

    #[test]
    fn everybody_but_an_administrator_gets_the_message_for_one() {
        for cause in causes::names() {
            assert!(fault(cause, &[]).explain(&user()).message_for_administrator.is_some(), "{cause}");
        }
        let refused = fault("imap_token_refused", &[]);
        let told = refused.explain(&user());
        assert_eq!(told.fixed_by, FixedBy::You);
        assert!(told.message_for_administrator.unwrap().contains("IMAP.AccessAsUser.All"));
        let administrator = Reader { administrator: true, ..user() };
        assert_eq!(refused.explain(&administrator).message_for_administrator, None);
    }

    #[test]
    fn a_full_mailbox_is_the_senders_and_codes_lead_to_microsofts_page() {
        let full = fault("mailbox_full", &[]).of_recipient("else@far.example").explain(&user());
        assert!(full.summary.contains("jane@school.example") && !full.summary.contains("far.example"));
        let refused = fault("authority_refused", &[("Code", "AADSTS900561, AADSTS1")]).explain(&user());
        let link = Some(Help::Link("https://login.microsoftonline.com/error?code=900561".into()));
        assert_eq!(refused.steps[0].help, link);
        let refused = fault("authority_refused", &[]).explain(&user());
        assert_eq!(refused.steps[0].help, Some(Help::Link("https://login.microsoftonline.com/error".into())));
    }

    #[test]
    fn ways_to_the_same_end_are_options_and_the_outbound_address_is_shown() {
        let tenant = fault("smtp_auth_tenant", &[]).explain(&user());
        let options = tenant.steps.iter().filter(|step| step.is_option).count();
        assert_eq!((options, tenant.steps[0].text.starts_with("Option A")), (3, true));
        let reader = Reader { outbound_address: Some("192.0.2.10".into()), ..user() };
        let policy = fault("conditional_access", &[]).explain(&reader);
        assert!(policy.steps.iter().any(|step| step.text.contains("(192.0.2.10)")));
        assert!(policy.evidence.as_text().contains("This server connects from: 192.0.2.10"));
        let unknown = fault("conditional_access", &[]).explain(&user());
        assert!(!unknown.evidence.as_text().contains("connects from"));
    }

    #[test]
    fn nothing_stays_blank() {
        for cause in causes::names() {
            let told = fault(cause, &[]).explain(&user());
            let all = format!("{} {} {:?} {:?}", told.title, told.summary, told.steps, told.message_for_administrator);
            assert!(
                !all.contains('{') || all.matches('{').count() == all.matches("Instruction {").count(),
                "{cause}: {all}"
            );
        }
    }

    #[test]
    fn a_teacher_is_told_whom_they_know() {
        for cause in ["smtp_cut", "smtp_unreachable", "smtp_tls", "imap_unreachable", "authority_protocol", "no_room"] {
            let told = fault(cause, &[]).explain(&user());
            assert_eq!(told.fixed_by, FixedBy::Administrator, "{cause}");
            assert!(told.message_for_administrator.is_some() && !told.summary.contains("hoever runs"), "{cause}");
            let administrator = fault(cause, &[]).explain(&Reader { administrator: true, ..user() });
            assert_eq!(administrator.fixed_by, FixedBy::Operator, "{cause}");
        }
    }
}
