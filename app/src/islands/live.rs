//! The live region of a page: at each event the server renders it again, and it is replaced.

use leptos::prelude::*;

use super::alive;

/// Follows `events` while the page is visible, and replaces the element with the id `live`.
#[island]
pub fn LiveMail(events: String) -> impl IntoView {
    let alive = alive();
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        let events = events.clone();
        leptos::task::spawn_local(async move { follow::forever(&events).await });
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = events;
    view! { <span hidden=true data-hydrated=move || alive.get().then_some("true")></span> }
}

#[cfg(feature = "hydrate")]
mod follow {
    use futures::{FutureExt, StreamExt, select};
    use gloo_net::eventsource::futures::EventSource;
    use leptos::prelude::{document, window};
    use wasm_bindgen::JsCast;
    use wasm_bindgen_futures::JsFuture;

    use super::super::leaving::{Reconnect, next, reload};
    use super::super::times::{show_local_times, show_times_within};

    /// One stream, only while the page is visible.
    pub(super) async fn forever(events: &str) {
        let mut reconnect = Reconnect::new();
        let mut missed = false;
        loop {
            until_visible(true).await;
            if missed && !replace().await {
                return;
            }
            let opened = js_sys::Date::now();
            let Ok(mut source) = EventSource::new(events) else { return };
            let Ok(messages) = source.subscribe("message") else { return };
            let mut messages = messages.fuse();
            loop {
                select! {
                    message = messages.next() => match message {
                        Some(Ok(_)) => {
                            if !replace().await {
                                return;
                            }
                        }
                        _ => break,
                    },
                    () = until_visible(false).fuse() => break,
                }
            }
            source.close();
            missed = true;
            if js_sys::Date::now() - opened > 30_000.0 {
                reconnect.reset();
            }
            if !document().hidden() {
                reconnect.pause().await;
            }
        }
    }

    async fn until_visible(visible: bool) {
        while document().hidden() == visible {
            next(&document(), "visibilitychange").await;
        }
    }

    /// Fetches the current page. `false` if the page is reloaded instead.
    async fn replace() -> bool {
        let Some(text) = page().await else { return true };
        let parser = web_sys::DomParser::new().ok();
        let new = parser
            .and_then(|parser| parser.parse_from_string(&text, web_sys::SupportedType::TextHtml).ok())
            .and_then(|page| page.get_element_by_id("live"));
        let old = document().get_element_by_id("live");
        match (old, new) {
            // New islands aren't hydrated; a page without this region is another page.
            (Some(old), Some(new)) if new.query_selector("leptos-island").ok().flatten().is_none() => {
                swap(&old, &new);
                true
            }
            // Same text: keep the page.
            (Some(old), Some(new)) if reads_alike(&old, &new) => true,
            _ => {
                reload().await;
                false
            }
        }
    }

    fn reads_alike(old: &web_sys::Element, new: &web_sys::Element) -> bool {
        show_times_within(new);
        old.text_content() == new.text_content()
    }

    async fn page() -> Option<String> {
        let location = window().location();
        let (path, query) = (location.pathname().ok()?, location.search().ok()?);
        let sign = if query.is_empty() { '?' } else { '&' };
        let address = format!("{path}{query}{sign}{}", crate::model::LIVE);
        let answer = JsFuture::from(window().fetch_with_str(&address)).await.ok()?;
        let answer: web_sys::Response = answer.dyn_into().ok()?;
        // Server restarting or proxy error: keep the content, retry.
        if answer.status() >= 429 {
            return None;
        }
        JsFuture::from(answer.text().ok()?).await.ok()?.as_string()
    }

    /// Replaces the content; keeps checked, open and focused elements.
    fn swap(old: &web_sys::Element, new: &web_sys::Element) {
        let active = document().active_element().filter(|element| old.contains(Some(element)));
        let focused = active.as_ref().map(|element| (element.id(), element.tag_name(), key(element)));
        let kept = ids(old, "input:checked, details[open]");
        old.set_inner_html(&new.inner_html());
        for id in kept {
            let Some(element) = document().get_element_by_id(&id) else { continue };
            match element.dyn_into::<web_sys::HtmlInputElement>() {
                Ok(input) => input.set_checked(true),
                Err(element) => {
                    let _ = element.set_attribute("open", "");
                }
            }
        }
        if let Some((id, tag, key_before)) = focused {
            let by_id = Some(id).filter(|id| !id.is_empty()).and_then(|id| document().get_element_by_id(&id));
            let alike = || {
                old.query_selector_all(&tag).ok().and_then(|all| {
                    (0..all.length())
                        .filter_map(|at| all.get(at)?.dyn_into::<web_sys::Element>().ok())
                        .find(|element| key(element) == key_before)
                })
            };
            // If the focused element is gone, focus the live region.
            let element = by_id.or_else(alike).unwrap_or_else(|| old.clone());
            if let Ok(element) = element.dyn_into::<web_sys::HtmlElement>() {
                let _ = element.focus();
            }
        }
        show_local_times();
    }

    /// Identifies a control without an id by its HTML or its form's.
    fn key(element: &web_sys::Element) -> String {
        let form = element.closest("form:not(.messages-sheet)").ok().flatten();
        form.unwrap_or_else(|| element.clone()).outer_html()
    }

    fn ids(root: &web_sys::Element, selector: &str) -> Vec<String> {
        let Ok(found) = root.query_selector_all(selector) else { return Vec::new() };
        (0..found.length())
            .filter_map(|at| found.get(at)?.dyn_into::<web_sys::Element>().ok())
            .map(|element| element.id())
            .filter(|id| !id.is_empty())
            .collect()
    }
}
