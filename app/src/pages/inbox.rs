//! A folder of a mailbox: messages, paging, search, bulk actions.

use crate::api::inbox::{ActOnMail, ChooseDeletedFolder, RefreshMail};
use crate::model::{ACCOUNT_PATH, FormName, INBOX_PATH, MAIL_EVENTS_PATH, MESSAGE_PATH};
use leptos::prelude::*;
use leptos::server_fn::ServerFn;
use leptos_router::hooks::use_query_map;

use super::{Page, mail_page};
use crate::components::{
    Banner, Layout, MailNav, MailTab, PlainDiagnosis, Remedies, Section, Submit, Time, TimeFormat,
};
use crate::islands::LiveMail;
use crate::model::{
    Diagnosis, FolderRole, FolderView, HeaderView, InboxQuery, InboxView, MailboxId, MessageRef, SEARCHED_HEADERS,
    SEARCHED_TEXTS, Timestamp, Tone, escaped,
};

/// Seconds between reloads of a page that waits for the mail server, without JavaScript.
pub(super) const RELOAD: &str = "3";

/// `/mail/inbox`
#[component]
pub fn Inbox() -> impl IntoView {
    let asked = use_query_map().get_untracked();
    let query = InboxQuery {
        mailbox: asked.get("mailbox").and_then(|text| text.parse().ok()),
        folder: asked.get("folder").filter(|name| !name.is_empty()),
        page: asked.get("page").and_then(|text| text.parse().ok()).unwrap_or(1),
        search: asked.get("search").unwrap_or_default(),
    };
    mail_page(move |page, user| async move {
        let flash = page.flash(&[FormName::Inbox]).await;
        // Read before the list, so that changes in between are followed, too.
        let version = page.backend.inbox.version(&user).await;
        let Some(view) = page.backend.inbox.inbox(&user, query).await? else {
            return Ok(view! {
                <Layout user=user.signed_in() title="Inbox" trail="Mail" section=Section::Mail flash=flash.clone()>
                    <MailNav place=MailTab::Inbox />
                    {not_connected()}
                </Layout>
            }
            .into_any());
        };
        if view.fetching && view.problem.is_none() {
            page.reload_without_scripts(RELOAD);
        }
        let title = view.folder.title.clone();
        let events = format!(
            "{MAIL_EVENTS_PATH}?mailbox={}&folder={}&version={}",
            view.mailbox,
            escaped(&view.folder.name),
            escaped(&version)
        );
        Ok(view! {
            <Layout user=user.signed_in() title trail="Mail" section=Section::Mail flash=flash.clone() list=Some(("live", "messages"))>
                <MailNav place=MailTab::Inbox />
                <div class="mail-columns">
                    <div class="mail-side">{mailboxes(&view)} {folders(&view)} {deleted_folder(&view)}</div>
                    <div class="mail-main">
                        {search_form(&view)} <LiveMail events /> <div id="live" tabindex="-1">
                            {list(&view)}
                        </div>
                    </div>
                </div>
            </Layout>
        }
        .into_any())
    })
}

impl Page {
    /// Reloads the page in browsers without JavaScript.
    pub(super) fn reload_without_scripts(&self, seconds: &'static str) {
        if !self.visitor.script {
            let name = http::HeaderName::from_static("refresh");
            self.response.insert_header(name, http::HeaderValue::from_static(seconds));
        }
    }
}

pub(super) fn not_connected() -> AnyView {
    view! {
        <Banner tone=Tone::Warning title="No mailbox connected yet." text="Connect yours first: it takes a minute. Then you can send and receive here.">
            <p>
                <a class="button primary" href=ACCOUNT_PATH>
                    "Connect my mailbox"
                </a>
            </p>
        </Banner>
    }
    .into_any()
}

fn address(mailbox: MailboxId, folder: &str) -> String {
    format!("{INBOX_PATH}?mailbox={mailbox}&folder={}", escaped(folder))
}

fn mailboxes(view: &InboxView) -> AnyView {
    if view.mailboxes.len() < 2 {
        let address = view.address.clone();
        return view! { <p class="quiet mail-address address">{address}</p> }.into_any();
    }
    let current = view.mailbox;
    let links = view
        .mailboxes
        .iter()
        .map(|(id, name)| {
            let (href, name) = (format!("{INBOX_PATH}?mailbox={id}"), name.clone());
            let here = (*id == current).then_some("page");
            view! {
                <li>
                    <a href=href aria-current=here>
                        {name}
                    </a>
                </li>
            }
        })
        .collect_view();
    view! {
        <nav aria-label="Mailboxes">
            <ul class="folders">{links}</ul>
        </nav>
    }
    .into_any()
}

fn sign(role: FolderRole) -> &'static str {
    match role {
        FolderRole::Inbox => "✉",
        FolderRole::Drafts => "✎",
        FolderRole::Sent => "➤",
        FolderRole::Archive => "▤",
        FolderRole::Junk => "⚠",
        FolderRole::Trash => "✕",
        FolderRole::Other => "▸",
    }
}

fn folders(view: &InboxView) -> AnyView {
    let (mailbox, current) = (view.mailbox, view.folder.name.clone());
    let links = |folders: &[FolderView]| {
        folders
            .iter()
            .map(|folder| {
                let here = (folder.name == current).then_some("page");
                let (href, title, sign) = (address(mailbox, &folder.name), folder.title.clone(), sign(folder.role));
                view! {
                    <li>
                        <a href=href aria-current=here>
                            <span aria-hidden="true" class="folder-sign">
                                {sign}
                            </span>
                            {title}
                        </a>
                    </li>
                }
            })
            .collect_view()
    };
    // Folded on small screens, where messages matter more than folders.
    view! {
        <details class="folders-small">
            <summary>"Folders"</summary>
            <ul class="folders">{links(&view.folders)}</ul>
        </details>
        <nav aria-label="Folders" class="folders-wide">
            <ul class="folders">{links(&view.folders)}</ul>
        </nav>
    }
    .into_any()
}

/// Chooses the folder for deleted messages: shown if none is known, folded inside it otherwise.
fn deleted_folder(view: &InboxView) -> Option<AnyView> {
    let here = view.folder.role == FolderRole::Trash;
    (view.without_trash || here).then(|| {
        let may_be = |role| matches!(role, FolderRole::Other | FolderRole::Trash);
        let options = view.folders.iter().filter(|folder| may_be(folder.role)).map(|folder| {
            let is_it = folder.role == FolderRole::Trash;
            view! {
                <option value=folder.name.clone() selected=is_it>
                    {folder.title.clone()}
                </option>
            }
        });
        let form = view! {
            <form method="post" action=ChooseDeletedFolder::PATH class="sheet deleted-folder">
                <input type="hidden" name="mailbox" value=view.mailbox.to_string() />
                <label for="deleted-folder">"Folder for deleted messages"</label>
                <select id="deleted-folder" name="folder">
                    {options.collect_view()}
                </select>
                <button class="button small">"Choose"</button>
            </form>
        }
        .into_any();
        if here {
            view! {
                <details class="more">
                    <summary>"Choose another folder for deleted messages"</summary>
                    {form}
                </details>
            }
            .into_any()
        } else {
            form
        }
    })
}

/// Text for servers that search for ASCII only.
fn partly_searched(search: &str) -> String {
    let mut other: Vec<String> = search.chars().filter(|c| !c.is_ascii()).map(|c| format!("“{c}”")).collect();
    other.sort_unstable();
    other.dedup();
    format!(
        "The mail server can't search for {}. We searched names and subjects of the newest {SEARCHED_HEADERS} messages and \
        the text of up to {SEARCHED_TEXTS}. Older messages may be missing.",
        other.join(", ")
    )
}

fn search_form(view: &InboxView) -> AnyView {
    let (mailbox, folder, search) = (view.mailbox.to_string(), view.folder.name.clone(), view.search.clone());
    let label = format!("Search in {}", view.folder.title);
    let all = (!search.is_empty()).then(|| {
        let href = address(view.mailbox, &view.folder.name);
        view! {
            <a class="button" href=href>
                "Show all"
            </a>
        }
    });
    view! {
        <search>
            <form method="get" action=INBOX_PATH class="search">
                <input type="hidden" name="mailbox" value=mailbox />
                <input type="hidden" name="folder" value=folder />
                <input type="search" name="search" value=search aria-label=label.clone() placeholder=label maxlength="200" />
                <button class="button">"Search"</button>
                {all}
            </form>
        </search>
    }
    .into_any()
}

/// The live part of the page: plain markup, so that updates can replace it.
fn list(view: &InboxView) -> AnyView {
    let problem = view.problem.as_ref().map(|problem| trouble(problem, view.address.clone(), view.as_of));
    if view.headers.is_empty() {
        return view! {
            {problem}
            <section class="sheet empty">{empty(view)}</section>
        }
        .into_any();
    }
    let (mailbox, folder) = (view.mailbox, view.folder.name.clone());
    // Deleting from the trash is final, so it asks.
    let delete = if view.folder.role == FolderRole::Trash {
        view! {
            <details class="confirm" id="delete-for-good">
                <summary class="danger">"Delete permanently"</summary>
                <p>"You can't undo this."</p>
                <button class="button small danger" name="action" value="delete">
                    "Yes, delete permanently"
                </button>
            </details>
        }
        .into_any()
    } else {
        view! {
            <button class="button small" name="action" value="delete">
                "Delete"
            </button>
        }
        .into_any()
    };
    let rows = view.headers.iter().map(|header| row(view, header)).collect_view();
    let unread = (view.search.is_empty() && view.unread > 0).then(|| format!(", {} unread", view.unread));
    let count = match (view.total, view.search.is_empty()) {
        (1, true) => "1 message".to_owned(),
        (count, true) => format!("{count} messages"),
        (1, false) => "1 message found".to_owned(),
        (count, false) => format!("{count} messages found"),
    };
    view! {
        {problem}
        <form method="post" action=ActOnMail::PATH class="sheet messages-sheet">
            <input type="hidden" name="mailbox" value=mailbox.to_string() />
            <input type="hidden" name="folder" value=folder />
            <input type="hidden" name="validity" value=view.uid_validity.to_string() />
            <input type="hidden" name="page" value=view.page.to_string() />
            <input type="hidden" name="search" value=view.search.clone() />
            <div class="messages-head">
                <p class="quiet" role="status">
                    {count}
                    {unread}
                    {view.looked_through.then(|| format!(". {}", partly_searched(&view.search)))}
                </p>
                <div class="bulk" role="group" aria-label="With the selected messages">
                    <button class="button small" name="action" value="read">
                        "Mark read"
                    </button>
                    <button class="button small" name="action" value="unread">
                        "Mark unread"
                    </button>
                    <button class="button small" name="action" value="flag">
                        "Flag"
                    </button>
                    <button class="button small" name="action" value="unflag">
                        "Unflag"
                    </button>
                    {delete}
                </div>
            </div>
            <ul class="messages">{rows}</ul>
        </form>
        {pages(view)}
    }
    .into_any()
}

/// The problem, and the buttons that fix it. Plain markup: live updates may add it.
pub(super) fn trouble(problem: &Diagnosis, address: String, as_of: Option<Timestamp>) -> AnyView {
    let (remedy, diagnosis) = (problem.remedy, problem.clone());
    view! {
        <Banner tone=Tone::Problem title=problem.title.clone() text=problem.summary.clone()>
            {as_of.map(|at| view! { <p class="quiet">"Last updated " <Time at format=TimeFormat::Hour /> "."</p> })}
            <PlainDiagnosis diagnosis />
            <div class="actions">
                <Remedies remedy address />
            </div>
        </Banner>
    }
    .into_any()
}

fn empty(view: &InboxView) -> AnyView {
    let text = |text: &str| text.to_owned();
    let (title, text) = match (view.problem.is_some(), view.fetching, view.search.is_empty()) {
        (true, _, _) => (text("No messages to show."), text("Your mail appears here when this is fixed.")),
        (_, true, _) => {
            (text("Loading your mail…"), text("Loading this folder for the first time. This can take a moment."))
        }
        (_, _, false) => {
            let also = if view.looked_through { partly_searched(&view.search) } else { String::new() };
            (format!("No messages in {} match “{}”.", view.folder.title, view.search), also)
        }
        _ => (format!("{} is empty.", view.folder.title), text("New messages appear automatically.")),
    };
    let refresh = (!view.fetching && view.problem.is_none() && view.search.is_empty()).then(|| {
        let values = vec![("mailbox", view.mailbox.to_string()), ("folder", view.folder.name.clone())];
        view! {
            <div class="without-script">
                <Submit action=RefreshMail::PATH values label="Check for new mail" />
            </div>
        }
    });
    view! {
        <p class="empty-title">{title}</p>
        <p class="quiet">{text}</p>
        {refresh}
    }
    .into_any()
}

fn row(view: &InboxView, header: &HeaderView) -> AnyView {
    let place = MessageRef {
        mailbox: view.mailbox,
        folder: view.folder.name.clone(),
        uid_validity: view.uid_validity,
        uid: header.uid,
    };
    let page = if view.page > 1 { format!("&page={}", view.page) } else { String::new() };
    let search = if view.search.is_empty() { String::new() } else { format!("&search={}", escaped(&view.search)) };
    let href = format!("{MESSAGE_PATH}?{}{page}{search}", place.query());
    let subject = if header.subject.is_empty() { "(no subject)".to_owned() } else { header.subject.clone() };
    // In these folders the recipients say more than the sender.
    let outgoing = matches!(view.folder.role, FolderRole::Sent | FolderRole::Drafts);
    let correspondent = match (outgoing, header.recipients.is_empty(), header.from.is_empty()) {
        (true, false, _) => format!("To {}", header.recipients),
        (_, _, true) => "(no sender)".to_owned(),
        _ => header.from.clone(),
    };
    let (uid, select) = (header.uid.to_string(), format!("Select: {subject}, from {}", header.from));
    let unread = !header.seen && !outgoing;
    view! {
        <li class="mail-row" class:unread=unread data-uid=uid.clone()>
            <label class="pick">
                <input type="checkbox" name="uids[]" value=uid.clone() id=format!("pick-{}-{uid}", view.uid_validity) aria-label=select />
            </label>
            <a href=href id=format!("open-{}-{uid}", view.uid_validity)>
                <span class="mail-who">
                    {unread
                        .then(|| {
                            view! {
                                <span class="unread-dot" aria-hidden="true">
                                    "●"
                                </span>
                                <span class="visually-hidden">"Unread: "</span>
                            }
                        })} <bdi>{correspondent}</bdi>
                </span>
                <span class="mail-subject">
                    <bdi>{subject}</bdi>
                </span>
                <span class="mail-marks">
                    {header
                        .answered
                        .then(|| {
                            view! {
                                <span aria-hidden="true">"↩"</span>
                                <span class="visually-hidden">" Answered"</span>
                            }
                        })}
                    {header
                        .attachments
                        .then(|| {
                            view! {
                                <span aria-hidden="true">"📎"</span>
                                <span class="visually-hidden">" Has attachments"</span>
                            }
                        })}
                    {header
                        .flagged
                        .then(|| {
                            view! {
                                <span class="flagged" aria-hidden="true">
                                    "⚑"
                                </span>
                                <span class="visually-hidden">" Flagged"</span>
                            }
                        })}
                </span>
                <span class="mail-time">
                    <Time at=header.received_at format=TimeFormat::Short />
                </span>
            </a>
        </li>
    }
    .into_any()
}

fn pages(view: &InboxView) -> Option<AnyView> {
    (view.pages > 1).then(|| {
        let base = address(view.mailbox, &view.folder.name);
        let search = if view.search.is_empty() { String::new() } else { format!("&search={}", escaped(&view.search)) };
        let link = |page: u32| format!("{base}&page={page}{search}");
        let newer = (view.page > 1).then(|| {
            view! {
                <a class="button" href=link(view.page - 1)>
                    "Newer"
                </a>
            }
        });
        let older = (view.page < view.pages).then(|| {
            view! {
                <a class="button" href=link(view.page + 1)>
                    "Older"
                </a>
            }
        });
        let (page, pages) = (view.page, view.pages);
        view! {
            <nav class="actions" aria-label="Pages">
                {newer}
                <span class="quiet">"Page " {page} " of " {pages}</span>
                {older}
            </nav>
        }
        .into_any()
    })
}
