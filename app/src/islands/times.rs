//! On every page: times in the browser's zone, and a cookie that shows that scripts run.

/// Sets a cookie that shows that scripts run: pages then don't reload themselves.
pub fn mark_script() {
    #[cfg(feature = "hydrate")]
    {
        let _ = js_sys::Reflect::set(
            &leptos::prelude::document(),
            &"cookie".into(),
            &"entrepost_script=1; SameSite=Lax; Path=/".into(),
        );
    }
}

/// Rewrites every `<time>` outside islands in the browser's zone, with the zone on hover.
pub fn show_local_times() {
    #[cfg(feature = "hydrate")]
    if let Some(page) = leptos::prelude::document().document_element() {
        show_times_within(&page);
    }
}

/// The same within an element, attached or not.
#[cfg(feature = "hydrate")]
pub(super) fn show_times_within(part: &web_sys::Element) {
    use wasm_bindgen::JsCast;
    fill_utc_offsets(part);
    let Ok(times) = part.query_selector_all("time[datetime]") else { return };
    let styled = |styles: &[(&str, &str)]| {
        let options = js_sys::Object::new();
        for (name, value) in styles {
            let _ = js_sys::Reflect::set(&options, &(*name).into(), &(*value).into());
        }
        options
    };
    let options = styled(&[("dateStyle", "long"), ("timeStyle", "short")]);
    let zoned = styled(&[("dateStyle", "full"), ("timeStyle", "full")]);
    let (hour, day) = (styled(&[("timeStyle", "short")]), styled(&[("dateStyle", "medium")]));
    let day_and_hour = styled(&[("dateStyle", "medium"), ("timeStyle", "short")]);
    let today = js_sys::Date::new_0().to_date_string();
    for at in 0..times.length() {
        let Some(element) = times.get(at).and_then(|node| node.dyn_into::<web_sys::HtmlElement>().ok()) else {
            continue;
        };
        let date = js_sys::Date::new(&element.get_attribute("datetime").unwrap_or_default().into());
        let words = |options: &js_sys::Object| {
            let words =
                js_sys::Reflect::get(&date, &"toLocaleString".into()).ok()?.dyn_into::<js_sys::Function>().ok()?;
            words.call2(&date, &"en-GB".into(), options).ok()?.as_string()
        };
        let shown = match (element.get_attribute("data-format").as_deref(), date.to_date_string() == today) {
            (None, _) => &options,
            (_, true) => &hour,
            (Some("hour"), false) => &day_and_hour,
            (_, false) => &day,
        };
        if let Some(text) = words(shown) {
            element.set_text_content(Some(&text));
        }
        if let Some(text) = words(&zoned) {
            let _ = element.set_attribute("title", &text);
        }
    }
}

/// Fills in the zone offset, so the server can write local times.
#[cfg(feature = "hydrate")]
fn fill_utc_offsets(part: &web_sys::Element) {
    use wasm_bindgen::JsCast;
    let Ok(fields) = part.query_selector_all("input[data-at]") else { return };
    for field in (0..fields.length()).filter_map(|at| fields.get(at)?.dyn_into::<web_sys::Element>().ok()) {
        let at = field.get_attribute("data-at").unwrap_or_default();
        // JavaScript formats the number: Rust's code for floats would weigh 10 kB.
        let minutes = js_sys::Number::from(-js_sys::Date::new(&at.into()).get_timezone_offset());
        if let Ok(text) = minutes.to_string_with_radix(10) {
            let _ = field.set_attribute("value", &String::from(text));
        }
    }
}
