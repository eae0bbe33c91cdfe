//! Institution › Mail health: what the domains of senders publish.

use leptos::prelude::*;
use leptos::server_fn::ServerFn;

use crate::api::health::LookUpDomains;
use crate::components::{Submit, Time, copyable};
use crate::model::{DomainRecord, SenderDomain, Verdict};

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "✓",
        Verdict::Information => "i",
        Verdict::Unknown => "?",
        Verdict::Warning => "!",
        Verdict::Problem => "✕",
    }
}

/// The section of mail health.
pub fn section(domains: Vec<SenderDomain>) -> Option<AnyView> {
    if domains.is_empty() {
        return None;
    }
    let all = domains.into_iter().map(domain).collect_view();
    Some(
        view! {
            <section class="sheet" aria-labelledby="domains-title">
                <h2 id="domains-title">"Sender's domains"</h2>
                <p class="quiet">
                    "What DNS says about who may send in your name. Records are changed where the domain's DNS is hosted: Microsoft 365 admin center › Settings › Domains says where."
                </p>
                {all}
                <Submit action=LookUpDomains::PATH values=vec![] label="Look up again" />
            </section>
        }
        .into_any(),
    )
}

fn domain(domain: SenderDomain) -> AnyView {
    let is_open = domain.worst() > Some(Verdict::Unknown);
    let name = domain.domain.clone();
    let title = view! { <strong class="address">{domain.domain.clone()}</strong> };
    let Some(at) = domain.checked_at else {
        return view! { <p data-domain=name>{title} ": not looked up yet"</p> }.into_any();
    };
    let marks = domain.records.iter().map(|record| {
        let class = format!("badge {}", class(record.verdict));
        view! {
            <span class=class>
                <span aria-hidden="true">{sign(record.verdict)}</span>
                " "
                {record.name}
                <span class="visually-hidden">{format!(": {}", record.verdict.word())}</span>
            </span>
        }
    });
    let marks = marks.collect_view();
    let records = domain.records.into_iter().map(domain_record).collect_view();
    view! {
        <details class="domain" open=is_open data-domain=name>
            <summary>{title} <span class="marks">{marks}</span></summary>
            <dl class="records">{records}</dl>
            <p class="quiet">"Looked up " <Time at /></p>
        </details>
    }
    .into_any()
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Information | Verdict::Unknown => "",
        Verdict::Warning => "warning",
        Verdict::Problem => "bad",
    }
}

fn domain_record(record: DomainRecord) -> AnyView {
    let DomainRecord { name, verdict, text, found, publish, command } = record;
    let found = found.into_iter().map(|text| view! { <code>{text}</code> }).collect_view();
    let publish = publish.map(|(at, value)| {
        view! {
            <p>"TXT record to publish at " <code>{at}</code> ":"</p>
            {copyable(value, "Copy value")}
        }
    });
    view! {
        <div data-record=name data-verdict=verdict.word()>
            <dt>{name}</dt>
            <dd>
                <p>{text}</p>
                {found}
                {publish}
                {command.map(|command| copyable(command, "Copy command"))}
            </dd>
        </div>
    }
    .into_any()
}
