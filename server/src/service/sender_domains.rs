//! What the domains that people send from publish: look-ups once a day, and what they mean.

use std::time::Duration;

use app::backend::{Administrator, Result};
use app::model::{DomainRecord, InstitutionId, Notice, SenderDomain, Timestamp, Tone, Verdict};
use futures::future::try_join_all;

use super::Services;
use crate::diagnosis::powershell;
use crate::dns::{Dns, Found, MOST_LOOKUPS, Published, SpfTree, spf_terms, tag};
use crate::store::{SenderDomainRow, StoreError};

/// Between look-ups of a domain, in milliseconds: a day; ten minutes after one that failed.
const INTERVAL_MS: i64 = 24 * 60 * 60 * 1000;
const AGAIN_MS: i64 = 10 * 60 * 1000;
/// Domains that are looked up at the same time.
const TOGETHER: usize = 10;
/// Domains of an institution that are shown, and looked up when an administrator asks.
const MOST_DOMAINS: i64 = 20;
/// Look-ups in one round of housekeeping.
const ROUND: i64 = 50;
/// Time for all records of one domain.
const PATIENCE: Duration = Duration::from_secs(20);
/// RFC 7208, 4.6.2: what `all` does when nothing else fits.
const FAIL: char = '-';
const SOFT_FAIL: char = '~';
const PASS: char = '+';

impl Services {
    /// Looks up the domains that are due.
    pub async fn look_up_domains(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.store.collect_sender_domains(now).await?;
        let due = self.store.due_sender_domains(now, ROUND).await?;
        self.look_up(&due).await.map(|_| ())
    }

    /// Looks up domains, and returns how many were looked up.
    async fn look_up(&self, rows: &[SenderDomainRow]) -> Result<usize, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        // Read each time: the system's servers may change.
        let dns = match Dns::new(&self.config.dns_servers) {
            Ok(dns) => dns,
            Err(error) => {
                tracing::warn!("cannot look up domains: {error}");
                return Ok(0);
            }
        };
        let mut done = 0;
        for part in rows.chunks(TOGETHER) {
            let mut each = Vec::new();
            for row in part {
                each.push(self.look_up_one(&dns, row));
            }
            done += try_join_all(each).await?.into_iter().filter(|done| *done).count();
        }
        Ok(done)
    }

    /// Looks up a domain. `false`: another replica does, or DNS does not answer in time.
    async fn look_up_one(&self, dns: &Dns, row: &SenderDomainRow) -> Result<bool, StoreError> {
        let now = self.clock.now();
        if !self.store.claim_sender_domain(row, now.plus_ms(AGAIN_MS)).await? {
            return Ok(false);
        }
        let Ok(published) = tokio::time::timeout(PATIENCE, dns.published(&row.domain)).await else {
            tracing::warn!(domain = row.domain, "DNS does not answer in time");
            return Ok(false);
        };
        let next = if published.failed() { AGAIN_MS } else { INTERVAL_MS };
        self.store.put_published(row, &published, now, now.plus_ms(next)).await?;
        Ok(true)
    }

    /// Looks up an institution's domains now.
    pub(super) async fn look_up_domains_of(&self, admin: &Administrator) -> Result<Notice> {
        self.store.collect_sender_domains(self.clock.now()).await?;
        let rows = self.store.sender_domains(admin.institution().id, MOST_DOMAINS).await?;
        Ok(match (rows.len(), self.look_up(&rows).await?) {
            (0, _) => Notice::new(Tone::Warning, "No mailbox is connected yet, so there is no domain to look up.", ""),
            (_, 0) => Notice::new(
                Tone::Problem,
                "The domains couldn't be looked up.",
                "They are being looked up already, or DNS doesn't answer. Try again in a minute.",
            ),
            (_, 1) => Notice::new(Tone::Success, "1 domain was looked up.", ""),
            (_, count) => Notice::new(Tone::Success, format!("{count} domains were looked up."), ""),
        })
    }

    /// The domains of an institution with what their records mean.
    pub(super) async fn sender_domains(&self, institution: InstitutionId, include: &str) -> Result<Vec<SenderDomain>> {
        let rows = self.store.sender_domains(institution, MOST_DOMAINS).await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let records = row.published().map(|published| judge(&row.domain, &published, include));
                let checked_at: Option<Timestamp> = row.checked_at.filter(|_| records.is_some());
                SenderDomain { domain: row.domain, checked_at, records: records.unwrap_or_default() }
            })
            .collect())
    }
}

/// What receivers make of a domain's records. `include` is what SPF must include for Exchange Online.
fn judge(domain: &str, published: &Published, include: &str) -> Vec<DomainRecord> {
    let spf = spf(domain, &published.spf, &published.spf_tree, include);
    vec![spf, dkim(domain, &published.selectors), dmarc(domain, &published.dmarc), mx(&published.mx)]
}

fn record(name: &'static str, verdict: Verdict, text: impl Into<String>, found: &[String]) -> DomainRecord {
    DomainRecord { name, verdict, text: text.into(), found: found.to_vec(), publish: None, command: None }
}

fn failed(name: &'static str, why: &str) -> DomainRecord {
    record(name, Verdict::Unknown, format!("The look-up failed: {}.", why.trim_end_matches('.')), &[])
}

fn spf(domain: &str, found: &Found<Vec<String>>, tree: &SpfTree, include: &str) -> DomainRecord {
    let all = match found {
        Found::Failed(why) => return failed("SPF", why),
        Found::Nothing => {
            let text = "There is no SPF record, so receivers can't tell your mail from forgeries.";
            let publish = Some((domain.to_owned(), format!("v=spf1 include:{include} -all")));
            return DomainRecord { publish, ..record("SPF", Verdict::Problem, text, &[]) };
        }
        Found::Records(all) => all,
    };
    let [one] = all.as_slice() else {
        let text = format!(
            "There are {} SPF records, which receivers treat as an error (RFC 7208, 3.2). Merge them into one.",
            all.len()
        );
        let publish = Some((domain.to_owned(), merged(all)));
        return DomainRecord { publish, ..record("SPF", Verdict::Problem, text, all) };
    };
    let say = |verdict, text: String| record("SPF", verdict, text, all);
    let ending = spf_terms(one).into_iter().find(|term| term.name == "all").map(|term| term.qualifier);
    if tree.lookups > MOST_LOOKUPS {
        let text = format!(
            "The record needs more than {MOST_LOOKUPS} look-ups, which receivers treat as an error (RFC 7208, 4.6.4). Remove includes of services you no longer use."
        );
        return say(Verdict::Problem, text);
    }
    if let Some(broken) = tree.broken.first() {
        let text = format!(
            "The record includes {broken}, which has no SPF record: receivers treat that as an error. Remove it."
        );
        return say(Verdict::Problem, text);
    }
    if !tree.includes.iter().any(|included| included == include) {
        if let Some(why) = &tree.failed {
            return failed("SPF", why);
        }
        if tree.is_unclear {
            let text = "The record includes a name that depends on each message (a macro), so whether it allows Exchange Online can't be seen here.";
            return say(Verdict::Unknown, text.to_owned());
        }
        let publish = Some((domain.to_owned(), with_include(one, include)));
        // Some services write the addresses of an include into the record.
        let has_addresses = spf_terms(one).iter().any(|term| ["ip4", "ip6"].contains(&term.name.as_str()));
        let (verdict, text) = if has_addresses {
            let text = format!(
                "The record doesn't include {include}. If it lists Exchange Online's addresses instead, they go out of date when Microsoft changes them."
            );
            (Verdict::Warning, text)
        } else {
            (Verdict::Problem, "The record doesn't allow Exchange Online to send for this domain.".to_owned())
        };
        return DomainRecord { publish, ..say(verdict, text) };
    }
    let lookups = format!("{} of {MOST_LOOKUPS} look-ups", tree.lookups);
    match ending {
        Some(PASS) => {
            say(Verdict::Problem, "The record ends with +all: it lets everyone send in your name. Use -all.".to_owned())
        }
        Some(FAIL | SOFT_FAIL) => say(Verdict::Good, format!("One record, which allows Exchange Online ({lookups}).")),
        None if spf_terms(one).iter().any(|term| term.name == "redirect") => {
            say(Verdict::Good, format!("One record, which allows Exchange Online ({lookups})."))
        }
        _ => say(
            Verdict::Warning,
            format!(
                "The record allows Exchange Online ({lookups}), but doesn't say that others may not send. End it with -all."
            ),
        ),
    }
}

/// The record with the include before the ending.
fn with_include(record: &str, include: &str) -> String {
    let mut terms: Vec<String> = record.split_ascii_whitespace().map(ToOwned::to_owned).collect();
    let is_ending = |text: &String| {
        let name = text.trim_start_matches(['+', '-', '~', '?']).to_ascii_lowercase();
        name == "all" || name.starts_with("redirect=")
    };
    let at = terms.iter().position(is_ending).unwrap_or(terms.len());
    terms.insert(at, format!("include:{include}"));
    terms.join(" ")
}

/// One record with the terms of all, and the ending of the strictest.
fn merged(records: &[String]) -> String {
    let mut terms: Vec<&str> = Vec::new();
    let mut ending = None;
    for term in records.iter().flat_map(|record| record.split_ascii_whitespace().skip(1)) {
        if term.trim_start_matches(['+', '-', '~', '?']).eq_ignore_ascii_case("all") {
            let is_stricter = ending.is_none_or(|known: &str| !known.starts_with(FAIL) && term.starts_with(FAIL));
            ending = if is_stricter { Some(term) } else { ending };
        } else if !terms.contains(&term) {
            terms.push(term);
        }
    }
    let all: Vec<&str> = std::iter::once("v=spf1").chain(terms).chain(ending).collect();
    all.join(" ")
}

fn dkim(domain: &str, selectors: &[Found<Vec<String>>; 2]) -> DomainRecord {
    let name = powershell(domain);
    let command = Some(format!("Get-DkimSigningConfig {name} | fl Selector1CNAME,Selector2CNAME"));
    let keys = selectors.iter().filter(|selector| matches!(selector, Found::Records(_))).count();
    let why = selectors.iter().find_map(|selector| match selector {
        Found::Failed(why) => Some(why),
        _ => None,
    });
    match (keys, why) {
        (0, Some(why)) => failed("DKIM", why),
        (0, None) => {
            let text = format!(
                "No key is published at selector1._domainkey.{domain} or selector2. The command shows the two CNAME records to publish; then switch signing on: Microsoft Defender › Email & collaboration › Policies & rules › Threat policies › Email authentication settings › DKIM."
            );
            DomainRecord { command, ..record("DKIM", Verdict::Warning, text, &[]) }
        }
        // Whether Exchange signs can't be seen in DNS. Two keys are published so that it can change them; one is in use.
        _ => record(
            "DKIM",
            Verdict::Good,
            "Microsoft's key is published. Whether mail is signed with it shows in the Defender portal, or in the headers of a message that arrived outside.",
            &[],
        ),
    }
}

fn dmarc(domain: &str, found: &Found<(String, Vec<String>)>) -> DomainRecord {
    let (at, all) = match found {
        Found::Failed(why) => return failed("DMARC", why),
        Found::Nothing => {
            let text = "There is no DMARC record. Large receivers refuse or mark bulk mail of domains without one; p=none changes nothing but meets that.";
            let publish = Some((format!("_dmarc.{domain}"), "v=DMARC1; p=none".to_owned()));
            return DomainRecord { publish, ..record("DMARC", Verdict::Warning, text, &[]) };
        }
        Found::Records((at, all)) => (at, all),
    };
    let [one] = all.as_slice() else {
        let text = format!("There are {} DMARC records, so receivers ignore all of them. Keep one.", all.len());
        return record("DMARC", Verdict::Problem, text, all);
    };
    let inherited = if at == domain { String::new() } else { format!(" It is inherited from {at}.") };
    let policy = (at != domain).then(|| tag(one, "sp")).flatten().or_else(|| tag(one, "p"));
    match policy.map(str::to_ascii_lowercase).as_deref() {
        Some("none") => record(
            "DMARC",
            Verdict::Good,
            if tag(one, "rua").is_some() {
                format!(
                    "The policy is none: receivers report forgeries and deliver them.{inherited} Change to quarantine once their reports show that your own mail passes."
                )
            } else {
                format!(
                    "The policy is none: receivers deliver forgeries.{inherited} Add rua=mailto:ADDRESS to get reports, and change to quarantine once they show that your own mail passes."
                )
            },
            all,
        ),
        Some(policy @ ("quarantine" | "reject")) => {
            record("DMARC", Verdict::Good, format!("The policy is {policy}.{inherited}"), all)
        }
        _ => {
            let publish = Some((format!("_dmarc.{at}"), "v=DMARC1; p=none".to_owned()));
            let text = "The record has no policy that receivers understand (p=none, quarantine or reject).";
            DomainRecord { publish, ..record("DMARC", Verdict::Problem, text, all) }
        }
    }
}

/// Where mail for the domain arrives. Another host is no fault: many filter mail before Exchange Online.
fn mx(found: &Found<Vec<String>>) -> DomainRecord {
    match found {
        Found::Failed(why) => failed("MX", why),
        Found::Nothing => {
            let text = "There is no MX record: mail goes to a server at the domain's own address, if there is one (RFC 5321, 5.1).";
            record("MX", Verdict::Information, text, &[])
        }
        Found::Records(hosts) => record("MX", Verdict::Information, "Mail to this domain goes to:", hosts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCLUDE: &str = "spf.protection.outlook.com";

    fn of(record: &str, includes: &[&str], lookups: usize) -> DomainRecord {
        let tree =
            SpfTree { lookups, includes: includes.iter().map(ToString::to_string).collect(), ..SpfTree::default() };
        spf("school.example", &Found::Records(vec![record.to_owned()]), &tree, INCLUDE)
    }

    #[test]
    fn the_record_to_publish_keeps_what_is_there() {
        let told = of("v=spf1 mx include:_spf.other.example ~all", &["_spf.other.example"], 2);
        let (name, value) = told.publish.unwrap();
        assert_eq!(name, "school.example");
        assert_eq!(value, "v=spf1 mx include:_spf.other.example include:spf.protection.outlook.com ~all");
        let told = of("v=spf1 redirect=_spf.other.example", &["_spf.other.example"], 1);
        assert_eq!(told.publish.unwrap().1, "v=spf1 include:spf.protection.outlook.com redirect=_spf.other.example");
        let two = ["v=spf1 mx ~all".to_owned(), "v=spf1 mx include:a.example -all".to_owned()];
        assert_eq!(merged(&two), "v=spf1 mx include:a.example -all");
    }

    #[test]
    fn a_record_is_judged_by_what_receivers_do() {
        let verdict = |record: &str, lookups| of(record, &[INCLUDE], lookups).verdict;
        assert_eq!(verdict("v=spf1 include:spf.protection.outlook.com -all", 1), Verdict::Good);
        assert_eq!(verdict("v=spf1 redirect=spf.protection.outlook.com", 1), Verdict::Good);
        assert_eq!(verdict("v=spf1 include:spf.protection.outlook.com ?all", 1), Verdict::Warning);
        assert_eq!(verdict("v=spf1 include:spf.protection.outlook.com", 1), Verdict::Warning);
        assert_eq!(verdict("v=spf1 include:spf.protection.outlook.com all", 1), Verdict::Problem);
        assert_eq!(verdict("v=spf1 include:spf.protection.outlook.com -all", 11), Verdict::Problem);
    }

    #[test]
    fn dmarc_of_a_subdomain_is_what_the_domain_above_says_for_it() {
        let found = Found::Records(("school.example".to_owned(), vec!["v=DMARC1; p=reject; sp=none".to_owned()]));
        let told = dmarc("staff.school.example", &found);
        assert!(told.text.contains("none") && told.text.contains("inherited from school.example"), "{}", told.text);
        assert!(dmarc("school.example", &found).text.contains("reject"));
    }
}
