//! Sanitises HTML for a sandboxed frame. Either protection alone would suffice.
//!
//! First inlines style sheets (css-inline, without network and files), so that one allow list covers every style, and colour and
//! background of each text are known. Then filters elements and attributes (ammonia), and makes text readable
//! ([`super::contrast`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use ammonia::{Builder, UrlRelative};
use base64::prelude::{BASE64_STANDARD, Engine};
use css_inline::CSSInliner;
use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::model::ParsedMessage;
use super::{contrast, css, html_complexity, pictures};

/// Total size of inline pictures in one document, in bytes as written: each may be used any number of times.
const INLINE: usize = 3 * super::pictures::MAX_BYTES;
/// Total size of inlined style sheets, in bytes.
const STYLE_SHEETS: usize = 256 * 1024;
/// Limit on declarations times elements: the work if every rule matched every element.
const WORK: usize = 4_000_000;
/// Deepest nesting of brackets in a style sheet: selectors are parsed recursively.
const NESTED: usize = 12;
/// Largest HTML with inlined styles, in bytes.
const INLINED: usize = 12 * 1024 * 1024;

fn is_remote(url: &str) -> bool {
    let url = url.trim_start().to_lowercase();
    url.starts_with("http://") || url.starts_with("https://")
}

pub fn has_remote_images(html: &str) -> bool {
    let lower = html.to_lowercase();
    lower.split("<img").skip(1).any(|tag| {
        let tag = tag.split('>').next().unwrap_or_default();
        tag.contains("http://") || tag.contains("https://")
    })
}

/// The document of the frame. Remote pictures are removed unless requested: their server would learn when and where the message
/// was read.
pub fn document(opened: &ParsedMessage, remote_images: bool) -> String {
    let pictures: HashMap<String, String> = opened
        .pictures
        .iter()
        .map(|picture| {
            let data = format!("data:{};base64,{}", picture.content_type, BASE64_STANDARD.encode(&picture.bytes));
            (picture.id.clone(), data)
        })
        .collect();
    let source = opened.html.as_deref().unwrap_or_default();
    let source = &*without_sheets_of_other_media(source);
    let inlined = with_style_sheets_inlined(source);
    let (opening, closing) = frame_of_body(&inlined);
    let clean = sanitised(&format!("{opening}{inlined}{closing}"), pictures, remote_images);
    let clean = contrast::readable(&clean);
    format!(
        "<!DOCTYPE html><html lang=\"und\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light\"><title>Message</title><style>{STYLE}</style></head><body>{clean}</body></html>"
    )
}

/// The frame's style sheet. [`super::contrast`] assumes its colours of text and links.
const STYLE: &str = "html{background:#fff;color:#1b2533;font:16px/1.55 system-ui,sans-serif;overflow-wrap:anywhere}body{margin:12px}\
    a{color:#1d4f9f}img{max-width:100%;height:auto}table{max-width:100%}blockquote{margin:0 0 0 8px;padding-inline-start:12px;border-inline-start:2px solid #8b8474}pre{white-space:pre-wrap}";

/// Removes style sheets for print or narrow screens, which the inliner would apply everywhere.
fn without_sheets_of_other_media(source: &str) -> Cow<'_, str> {
    let lower = source.to_ascii_lowercase();
    let mut out = String::new();
    let mut at = 0;
    while let Some(from) = lower[at..].find("<style").map(|found| at + found) {
        let Some(end) = lower[from..].find('>').map(|found| from + found + 1) else { break };
        let close = lower[end..].find("</style").map_or(source.len(), |found| end + found);
        let close = lower[close..].find('>').map_or(source.len(), |found| close + found + 1);
        let media = lower[from..end].split_once("media").and_then(|(_, rest)| rest.trim_start().strip_prefix('='));
        let media = media.map(|value| value.trim_start().trim_start_matches(['"', '\'']));
        let is_here = media.is_none_or(|value| {
            let value = value.split(['"', '\'', '>']).next().unwrap_or_default();
            value.trim().is_empty() || value.split(',').any(is_for_screens)
        });
        out.push_str(&source[at..if is_here { end } else { from }]);
        if is_here {
            out.push_str(&without_rules_of_other_media(&source[end..close], 0));
        }
        at = close;
    }
    if at == 0 {
        return Cow::Borrowed(source);
    }
    out.push_str(&source[at..]);
    Cow::Owned(out)
}

fn is_for_screens(query: &str) -> bool {
    let query = query.to_ascii_lowercase();
    let query = query.trim().trim_start_matches("only ").trim();
    let (kind, features) = query.split_once(" and ").unwrap_or((query, ""));
    let width = |text: &str| {
        let text = text.trim().strip_prefix("(min-width")?.trim_start().strip_prefix(':')?.trim();
        text.strip_suffix(')')?.trim().strip_suffix("px")?.trim().parse::<f32>().ok()
    };
    match (["all", "screen"].contains(&kind.trim()), features) {
        (true, "") => true,
        (true, features) => width(features).is_some_and(|width| width <= NARROWEST),
        (false, _) => width(query).is_some_and(|width| width <= NARROWEST),
    }
}

/// Largest `min-width` that counts as a desktop screen, in CSS pixels.
const NARROWEST: f32 = 640.0;
/// Deepest nesting of media rules.
const MEDIA_DEPTH: usize = 4;

/// Unwraps `@media` rules for screens and removes the others: the inliner ignores media queries.
fn without_rules_of_other_media(sheet: &str, depth: usize) -> String {
    let lower = sheet.to_ascii_lowercase();
    let mut out = String::with_capacity(sheet.len());
    let mut at = 0;
    while let Some(from) = lower[at..].find("@media").map(|found| at + found) {
        out.push_str(&sheet[at..from]);
        let Some(open) = lower[from..].find('{').map(|found| from + found) else {
            at = from + 6;
            continue;
        };
        let mut brackets = 0_usize;
        let close = lower[open..].bytes().position(|byte| {
            match byte {
                b'{' => brackets += 1,
                b'}' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            brackets == 0
        });
        let end = close.map_or(sheet.len(), |close| open + close);
        if depth < MEDIA_DEPTH && lower[from + 6..open].split(',').any(is_for_screens) {
            out.push_str(&without_rules_of_other_media(&sheet[open + 1..end], depth + 1));
        }
        at = (end + 1).min(sheet.len());
    }
    out.push_str(&sheet[at..]);
    out
}

/// Inlines style sheets into `style` attributes. Returns the HTML unchanged if they are too large or made to be slow.
fn with_style_sheets_inlined(source: &str) -> Cow<'_, str> {
    let lower = source.to_ascii_lowercase();
    let sheets: Vec<&str> = lower
        .match_indices("<style")
        .map(|(at, _)| lower[at..].split_once("</style").map_or(&lower[at..], |(sheet, _)| sheet))
        .take(100)
        .collect();
    if sheets.is_empty() {
        return Cow::Borrowed(source);
    }
    let bytes: usize = sheets.iter().map(|sheet| sheet.len()).sum();
    let declarations: usize = sheets.iter().map(|sheet| sheet.matches([';', '{']).count()).sum();
    let elements = source.matches('<').count();
    if bytes > STYLE_SHEETS || declarations.saturating_mul(elements) > WORK || sheets.iter().any(|sheet| is_deep(sheet))
    {
        return Cow::Borrowed(source);
    }
    let mut buffer = Bounded(Vec::with_capacity(source.len() * 2));
    let inliner = CSSInliner::options().load_remote_stylesheets(false).keep_at_rules(false).build();
    match inliner.inline_to(source, &mut buffer).ok().and_then(|()| String::from_utf8(buffer.0).ok()) {
        // The result is still untrusted.
        Some(whole) if html_complexity::within_limits(&whole) => Cow::Owned(whole),
        _ => Cow::Borrowed(source),
    }
}

fn is_deep(sheet: &str) -> bool {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in sheet.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > NESTED
}

/// A buffer with a size limit.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > INLINED {
            return Err(std::io::Error::other("too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Collects the attributes of `<html>` and `<body>`: direction, colours, background. The fragment gets a wrapper with them.
#[derive(Default)]
struct Outermost(std::cell::RefCell<Vec<(String, String)>>);

impl TokenSink for Outermost {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        if let Token::TagToken(tag) = token
            && tag.kind == TagKind::StartTag
            && (&*tag.name == "html" || &*tag.name == "body")
        {
            let all = tag.attrs.iter().map(|one| (one.name.local.to_string(), one.value.to_string()));
            let mut found = self.0.borrow_mut();
            for (name, value) in all {
                found.retain(|(known, _)| *known != name);
                found.push((name, value));
            }
        }
        TokenSinkResult::Continue
    }
}

/// Converts a legacy colour to CSS: attributes may omit the `#` (HTML, 2.3.6).
fn css_colour(value: &str) -> String {
    let value = value.trim();
    let is_bare = matches!(value.len(), 3 | 6) && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_bare { format!("#{value}") } else { value.to_owned() }
}

/// The wrapper that replaces `<body>`: its opening and closing tags.
fn frame_of_body(html: &str) -> (String, &'static str) {
    let tokenizer = Tokenizer::new(Outermost::default(), TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let found = tokenizer.sink.0.into_inner();
    let value = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let quoted = |value: &str| value.replace('&', "&amp;").replace('"', "&quot;");
    let mut style = String::new();
    // Browsers ignore these as attributes of a `div`.
    for (attribute, property) in [("text", "color"), ("bgcolor", "background-color")] {
        if let Some(colour) = value(attribute) {
            let _ = write!(style, "{property}:{};", css_colour(colour));
        }
    }
    style.push_str(value("style").unwrap_or_default());
    let mut opening = format!("<div dir=\"{}\"", quoted(value("dir").unwrap_or("auto")));
    for name in ["background", "lang"] {
        if let Some(value) = value(name) {
            let _ = write!(opening, " {name}=\"{}\"", quoted(value));
        }
    }
    let _ = write!(opening, " style=\"{}\">", quoted(&style));
    (opening, "</div>")
}

fn sanitised(source: &str, pictures: HashMap<String, String>, remote_images: bool) -> String {
    let room = AtomicUsize::new(INLINE);
    let take = move |data: &str| {
        room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(data.len())).is_ok()
    };
    let mut builder = Builder::default();
    builder
        .add_tags(["font", "u", "big"])
        .add_clean_content_tags(["title"])
        .add_generic_attributes(["style", "align", "valign", "dir", "bgcolor", "background", "color", "lang", "hidden"])
        .add_tag_attributes("table", ["width", "border", "cellpadding", "cellspacing", "height"])
        .add_tag_attributes("td", ["width", "height", "nowrap"])
        .add_tag_attributes("th", ["width", "height", "nowrap"])
        .add_tag_attributes("font", ["size", "face"])
        .add_tag_attributes("img", ["width", "height"])
        .rm_tag_attributes("img", ["srcset"])
        .url_schemes(["http", "https", "mailto", "tel", "cid", "data"].into())
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(move |element, attribute, value| match (element, attribute) {
            ("img", "src") => {
                let value = value.trim();
                let scheme = value.split_once(':').map(|(scheme, named)| (scheme.to_ascii_lowercase(), named));
                match scheme.as_ref().map(|(scheme, named)| (scheme.as_str(), *named)) {
                    Some(("cid", named)) => {
                        let data = pictures.get(named).or_else(|| pictures.get(&super::pictures::content_id(named)))?;
                        take(data).then(|| Cow::Owned(data.clone()))
                    }
                    // A picture in the message loads nothing.
                    Some(("data", _)) => {
                        let (content_type, bytes) = pictures::of_data_url(value)?;
                        let data = pictures::data_url(content_type, &bytes);
                        take(&data).then_some(Cow::Owned(data))
                    }
                    _ => (remote_images && is_remote(value)).then(|| Cow::Owned(value.to_owned())),
                }
            }
            // Only links elsewhere: no pages of this site, no data, no scripts.
            ("a", "href") => {
                let lower = value.trim_start().to_lowercase();
                ["http://", "https://", "mailto:", "tel:"]
                    .iter()
                    .any(|scheme| lower.starts_with(scheme))
                    .then_some(Cow::Borrowed(value))
            }
            // A removed background: its text must stay readable.
            (_, "background") => Some(Cow::Borrowed("lost")),
            (_, "src" | "href" | "cite" | "action" | "poster") => None,
            (_, "dir") => {
                let lower = value.trim().to_ascii_lowercase();
                ["rtl", "ltr", "auto"].contains(&lower.as_str()).then_some(Cow::Owned(lower))
            }
            (_, "style") => Some(css::sanitised(value)).filter(|style| !style.is_empty()).map(Cow::Owned),
            _ => Some(Cow::Borrowed(value)),
        });
    builder.clean(source).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::model::Picture;

    fn shown(html: &str, remote: bool) -> String {
        let picture = Picture { id: "pic".into(), content_type: "image/png", bytes: b"x".to_vec() };
        let opened = ParsedMessage { html: Some(html.into()), pictures: vec![picture], ..ParsedMessage::default() };
        let document = document(&opened, remote);
        let (_, body) = document.split_once("<body>").unwrap();
        body.to_owned()
    }

    #[test]
    fn no_script_of_any_kind_is_left() {
        for hostile in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<svg onload=alert(1)><script>alert(1)</script></svg>",
            "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<a href=\" java\nscript:alert(1)\">x</a>",
            "<iframe src=\"https://x.example\"></iframe>",
            "<form action=\"https://x.example\"><input name=a><button>x</button></form>",
            "<meta http-equiv=refresh content=\"0;url=https://x.example\">",
            "<base href=\"https://x.example/\">",
            "<link rel=stylesheet href=\"https://x.example/a.css\">",
            "<object data=\"data:text/html,<script>alert(1)</script>\"></object>",
            "<div style=\"background:url(https://x.example/a)\">x</div>",
            "<div style=\"position:fixed;top:0;left:0\">x</div>",
            "<img src=\"data:image/svg+xml,<svg onload=alert(1)>\">",
            "<style>body{background:url(https://x.example/a)}</style>",
            "<video poster=\"https://x.example/a\"><source src=\"https://x.example/b\"></video>",
            "<a href=\"/api/sign_out\">x</a>",
        ] {
            let body = shown(hostile, true).to_lowercase();
            // `=` after `on…` is what makes an attribute; the text of one that was escaped is harmless.
            for mark in [
                "<script",
                "<svg",
                "<iframe",
                "<form",
                "<input",
                "<meta",
                "<base",
                "<link",
                "<object",
                "<style",
                "<video",
                "javascript:",
                "url(",
                "position",
                "svg+xml",
                "/api/",
            ] {
                assert!(!body.contains(mark), "{hostile} left {mark}: {body}");
            }
            assert!(!body.contains(" onerror=alert(1)>") || body.contains("&lt;img"), "{body}");
        }
    }

    #[test]
    fn inline_pictures_are_shown_and_others_only_when_asked_for() {
        let html = "<p>Hi <img src=\"cid:pic\"><img src=\"https://x.example/track.gif\"></p>";
        let blocked = shown(html, false);
        assert!(blocked.contains("data:image/png;base64,eA==") && !blocked.contains("x.example"), "{blocked}");
        assert!(shown(html, true).contains("https://x.example/track.gif"));
        assert!(has_remote_images(html) && !has_remote_images("<img src=cid:a> https://x.example"));
    }

    #[test]
    fn a_picture_that_is_named_often_does_not_multiply() {
        let picture = Picture { id: "a@b".into(), content_type: "image/png", bytes: vec![7; 3_000_000] };
        let html = "<img src=\"cid:a%40b\">".repeat(10_000);
        let opened = ParsedMessage { html: Some(html), pictures: vec![picture], ..ParsedMessage::default() };
        let shown = document(&opened, false);
        assert!(shown.contains("data:image/png") && shown.len() < 20_000_000, "{}", shown.len());
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        for tags in ["<div>", "<b><i><font>", "<table><td>", "<div><table></div></table>"] {
            let count = 5_000 / tags.matches('<').count();
            assert!(shown(&tags.repeat(count), false).len() > 10);
        }
    }

    #[test]
    fn links_open_elsewhere_and_tell_nothing() {
        let body = shown("<a href=\"https://x.example/\">x</a>", false);
        assert!(body.contains("target=\"_blank\"") && body.contains("noreferrer"), "{body}");
    }
}
