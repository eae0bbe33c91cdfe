//! HTML of strangers: sanitised, then shown in a frame that may do nothing. Either alone would do.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use ammonia::{Builder, UrlRelative};
use base64::prelude::{BASE64_STANDARD, Engine};

use super::message::Opened;

/// Properties of inline styles that are left: none of them loads anything or leaves its place.
const STYLES: [&str; 46] = [
    "background-color",
    "border",
    "border-bottom",
    "border-collapse",
    "border-color",
    "border-left",
    "border-radius",
    "border-right",
    "border-spacing",
    "border-style",
    "border-top",
    "border-width",
    "color",
    "direction",
    "display",
    "font",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "height",
    "letter-spacing",
    "line-height",
    "list-style-type",
    "margin",
    "margin-bottom",
    "margin-left",
    "margin-right",
    "margin-top",
    "max-height",
    "max-width",
    "min-width",
    "padding",
    "padding-bottom",
    "padding-left",
    "padding-right",
    "padding-top",
    "table-layout",
    "text-align",
    "text-decoration",
    "text-indent",
    "text-transform",
    "vertical-align",
    "white-space",
    "width",
    "word-break",
];

/// Octets of inline pictures in one document, as they are written there: each may be named any number of times.
const INLINE: usize = 3 * super::message::PICTURES;

/// A Content-ID as an address names it (RFC 2392): percent-encoded.
pub(super) fn picture_id(named: &str) -> String {
    percent_encoding::percent_decode_str(named).decode_utf8_lossy().into_owned()
}

fn is_remote(url: &str) -> bool {
    let url = url.trim_start().to_lowercase();
    url.starts_with("http://") || url.starts_with("https://")
}

/// Whether the HTML names pictures elsewhere.
pub(super) fn has_remote_images(html: &str) -> bool {
    let lower = html.to_lowercase();
    lower.split("<img").skip(1).any(|tag| {
        let tag = tag.split('>').next().unwrap_or_default();
        tag.contains("http://") || tag.contains("https://")
    })
}

/// The document of the frame. Pictures elsewhere are left out unless they were asked for: whoever serves them would learn
/// that, when and where the message was read.
pub(super) fn document(opened: &Opened, remote_images: bool) -> String {
    let pictures: HashMap<String, String> = opened
        .pictures
        .iter()
        .map(|picture| {
            let data = format!("data:{};base64,{}", picture.content_type, BASE64_STANDARD.encode(&picture.octets));
            (picture.id.clone(), data)
        })
        .collect();
    let source = opened.html.as_deref().unwrap_or_default();
    let clean = sanitised(source, &pictures, remote_images);
    format!(
        "<!DOCTYPE html><html lang=\"und\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light\"><title>Message</title><style>html{{background:#fff;color:#1b2533;font:16px/1.55 system-ui,sans-serif;overflow-wrap:anywhere}}body{{margin:12px}}img{{max-width:100%;height:auto}}table{{max-width:100%}}blockquote{{margin:0 0 0 8px;padding-left:12px;border-left:2px solid #8b8474}}pre{{white-space:pre-wrap}}</style></head><body>{clean}</body></html>"
    )
}

fn sanitised(source: &str, pictures: &HashMap<String, String>, remote_images: bool) -> String {
    let pictures = pictures.clone();
    let room = AtomicUsize::new(INLINE);
    let mut builder = Builder::default();
    builder
        .add_tags(["font", "u", "big"])
        .add_generic_attributes(["style", "align", "valign", "dir", "bgcolor", "color"])
        .add_tag_attributes("table", ["width", "border", "cellpadding", "cellspacing", "height"])
        .add_tag_attributes("td", ["width", "height", "nowrap"])
        .add_tag_attributes("th", ["width", "height", "nowrap"])
        .add_tag_attributes("font", ["size", "face"])
        .add_tag_attributes("img", ["width", "height"])
        .rm_tag_attributes("img", ["srcset"])
        .filter_style_properties(HashSet::from(STYLES))
        .url_schemes(HashSet::from(["http", "https", "mailto", "tel", "cid", "data"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(move |element, attribute, value| match (element, attribute) {
            ("img", "src") => {
                let value = value.trim();
                if let Some((scheme, named)) = value.split_once(':')
                    && scheme.eq_ignore_ascii_case("cid")
                {
                    let data = pictures.get(named).or_else(|| pictures.get(&picture_id(named)))?;
                    let left = |room: usize| room.checked_sub(data.len());
                    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).ok()?;
                    return Some(Cow::Owned(data.clone()));
                }
                (remote_images && is_remote(value)).then(|| Cow::Owned(value.to_owned()))
            }
            // Nothing but a link to somewhere: no page of ours, no data, no script.
            ("a", "href") => {
                let lower = value.trim_start().to_lowercase();
                ["http://", "https://", "mailto:", "tel:"]
                    .iter()
                    .any(|scheme| lower.starts_with(scheme))
                    .then_some(Cow::Borrowed(value))
            }
            (_, "src" | "href" | "cite" | "background" | "action" | "poster") => None,
            (_, "style") if value.to_lowercase().contains("url(") => None,
            _ => Some(Cow::Borrowed(value)),
        });
    builder.clean(source).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::message::Picture;

    fn shown(html: &str, remote: bool) -> String {
        let picture = Picture { id: "pic".into(), content_type: "image/png", octets: b"x".to_vec() };
        let opened = Opened { html: Some(html.into()), pictures: vec![picture], ..Opened::default() };
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
        let picture = Picture { id: "a@b".into(), content_type: "image/png", octets: vec![7; 3_000_000] };
        let html = "<img src=\"cid:a%40b\">".repeat(10_000);
        let opened = Opened { html: Some(html), pictures: vec![picture], ..Opened::default() };
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
