//! The readable text of a message, as plain text and as HTML.

use crate::message::escape::escaped;
use crate::message::html_text::html_text;

/// A readable part.
pub(super) enum Body {
    Text(String),
    Html(String),
    Alternative(TextAndHtml),
}

impl Body {
    pub(super) fn is_readable(&self) -> bool {
        match self {
            Self::Text(text) => !is_blank(text),
            Self::Html(html) => says_something(html),
            Self::Alternative(TextAndHtml { text, html }) => {
                text.is_some() || html.as_deref().is_some_and(says_something)
            }
        }
    }
}

#[derive(Default)]
pub(super) struct TextAndHtml {
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
}

pub(super) fn joined(bodies: Vec<Body>) -> TextAndHtml {
    let (mut texts, mut pages, mut designed) = (Vec::new(), Vec::new(), false);
    let as_page = |text: &str| format!("<div dir=\"auto\" style=\"white-space:pre-wrap\">{}</div>", escaped(text));
    for body in bodies {
        match body {
            Body::Text(text) => {
                // Text next to HTML is part of the content.
                if !is_blank(&text) {
                    pages.push(as_page(&text));
                }
                texts.push(text);
            }
            Body::Html(html) => {
                designed = true;
                pages.push(html);
            }
            Body::Alternative(TextAndHtml { text, html }) => {
                designed |= html.is_some();
                pages.extend(html.or(text.as_deref().map(as_page)));
                texts.extend(text);
            }
        }
    }
    TextAndHtml { text: (!texts.is_empty()).then(|| texts.join("\n\n")), html: designed.then(|| pages.join("<hr>")) }
}

pub(super) fn says_something(html: &str) -> bool {
    let lower = html.get(..html.len().min(200_000)).unwrap_or(html).to_ascii_lowercase();
    lower.contains("<img") || html.len() > 200_000 || !is_blank(&html_text(html))
}

/// Whether a text has only blanks and invisible characters.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
    })
}
