//! Keeps text readable: if a background or style sheet was removed, light text must not stay on white.
//!
//! Reads the output of the sanitiser: closed tags, quoted attributes, styles in attributes. Colour and background of each text follow
//! from its ancestors.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;

use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer};

use super::css::LOST_GROUND;

/// Lowest contrast of a colour that the author chose. WCAG 2.2, 1.4.3, wants 4.5, but grey on white may be intended; white on white
/// is not.
const LOWEST: f32 = 2.0;
/// The same for the frame's default colours, which the author did not choose.
const LOWEST_OF_OURS: f32 = 4.5;

const PAPER: [f32; 3] = [1.0, 1.0, 1.0];
/// Default text colour of the frame's style sheet.
const INK: [f32; 3] = [0.106, 0.145, 0.2];
/// Default link colour.
const LINK: [f32; 3] = [0.114, 0.31, 0.624];
/// Background that replaces a picture behind light text.
const SLATE: [f32; 3] = [0.2, 0.235, 0.29];

const WITH_BGCOLOR: [&str; 7] = ["table", "thead", "tbody", "tfoot", "tr", "td", "th"];

const VOID: [&str; 8] = ["br", "hr", "img", "wbr", "col", "area", "input", "source"];

#[derive(Clone, Copy, PartialEq)]
enum Ground {
    Colour([f32; 3]),
    /// A removed picture; its replacement depends on the text.
    Lost,
}

enum Piece {
    Start(Element),
    End(String),
    Text { text: String, parent: Option<usize> },
}

struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    parent: Option<usize>,
    colour: [f32; 3],
    chosen: bool,
    ground: Option<Ground>,
    /// The element with the background behind its text: itself or an ancestor.
    ground_of: Option<usize>,
    behind: [f32; 3],
    more: String,
}

#[derive(Default)]
struct Pieces {
    all: Vec<Piece>,
    open: Vec<usize>,
}

struct Sink(RefCell<Pieces>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let mut pieces = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => pieces.tag(&tag),
            Token::CharacterTokens(text) => {
                let parent = pieces.open.last().copied();
                match pieces.all.last_mut() {
                    Some(Piece::Text { text: before, .. }) => before.push_str(&text),
                    _ => pieces.all.push(Piece::Text { text: text.to_string(), parent }),
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Pieces {
    fn tag(&mut self, tag: &Tag) {
        let name = tag.name.to_string();
        if tag.kind == TagKind::EndTag {
            // The output of the sanitiser is nested; other tags are dropped.
            let open = self.open.last().and_then(|at| match &self.all[*at] {
                Piece::Start(element) => Some(element.name.as_str()),
                _ => None,
            });
            if open == Some(name.as_str()) {
                self.open.pop();
                self.all.push(Piece::End(name));
            }
            return;
        }
        let attributes: Vec<(String, String)> =
            tag.attrs.iter().map(|one| (one.name.local.to_string(), one.value.to_string())).collect();
        let parent = self.open.last().copied();
        let mut element = Element::of(&name, attributes, parent, parent.and_then(|at| self.element(at)));
        if element.ground.is_some() {
            element.ground_of = Some(self.all.len());
        }
        if !VOID.contains(&name.as_str()) {
            self.open.push(self.all.len());
        }
        self.all.push(Piece::Start(element));
    }

    fn element(&self, at: usize) -> Option<&Element> {
        match &self.all[at] {
            Piece::Start(element) => Some(element),
            _ => None,
        }
    }
}

impl Element {
    fn of(name: &str, mut attributes: Vec<(String, String)>, parent: Option<usize>, around: Option<&Self>) -> Self {
        let style =
            attributes.iter().find(|(name, _)| name == "style").map(|(_, style)| style.clone()).unwrap_or_default();
        let mut lost = attributes.iter().any(|(name, _)| name == "background");
        attributes.retain(|(name, _)| name != "background");
        // Browsers honour each attribute only on certain elements.
        let legacy = |honours: bool, attribute_name| {
            attribute(&attributes, attribute_name).filter(|_| honours).and_then(legacy_colour)
        };
        let mut colour = legacy(name == "font", "color");
        let mut ground = legacy(WITH_BGCOLOR.contains(&name), "bgcolor");
        let (mut transparent, mut inherits) = (false, false);
        for declaration in declarations(&style) {
            match declaration {
                ("color", value) if is_transparent(value) => transparent = true,
                ("color", value) if is_inherited(value) => (inherits, colour) = (true, None),
                ("color", value) => colour = opaque(value).or(colour),
                ("background-color", value) => ground = opaque(value),
                ("background-image", value) => ground = first_stop(value).or(ground),
                (LOST_GROUND, _) => lost = true,
                _ => {}
            }
        }
        if transparent {
            // Transparent text: shows a background clipped to its letters.
            colour = ground.or(Some(PAPER));
        }
        let mut chosen = colour.is_some() || around.is_some_and(|around| around.chosen);
        if name == "a" && colour.is_none() && !inherits && attributes.iter().any(|(name, _)| name == "href") {
            (colour, chosen) = (Some(LINK), false);
        }
        if let Some((_, style)) = attributes.iter_mut().find(|(name, _)| name == "style") {
            *style = style.replace(&format!("{LOST_GROUND}:1;"), "");
        }
        attributes.retain(|(name, value)| name != "style" || !value.is_empty());
        let ground = ground.map(Ground::Colour).or(lost.then_some(Ground::Lost));
        Self {
            name: name.to_owned(),
            attributes,
            parent,
            colour: colour.or(around.map(|around| around.colour)).unwrap_or(INK),
            chosen,
            ground,
            ground_of: around.and_then(|around| around.ground_of),
            behind: PAPER,
            more: String::new(),
        }
    }
}

fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Declarations written by [`super::css`]: a semicolon occurs within a value only in quotes, and then the value is no colour.
fn declarations(style: &str) -> impl Iterator<Item = (&str, &str)> {
    style.split(';').filter_map(|one| one.split_once(':')).map(|(name, value)| (name.trim(), value.trim()))
}

fn opaque(value: &str) -> Option<[f32; 3]> {
    let colour = csscolorparser::parse(value).ok()?;
    (colour.a >= 0.5).then_some([colour.r, colour.g, colour.b])
}

fn is_transparent(value: &str) -> bool {
    csscolorparser::parse(value).is_ok_and(|colour| colour.a < 0.5)
}

/// Colours in attributes may omit the `#` (HTML standard, 2.3.6).
fn legacy_colour(value: &str) -> Option<[f32; 3]> {
    opaque(value.trim()).or_else(|| opaque(&format!("#{}", value.trim())))
}

/// Whether a colour is inherited (CSS Color 4; so is `currentcolor` as a `color`).
fn is_inherited(value: &str) -> bool {
    let value = value.trim().trim_end_matches("!important").trim_end();
    ["inherit", "unset", "currentcolor", "revert-layer"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn first_stop(gradient: &str) -> Option<[f32; 3]> {
    let arguments = gradient.split_once('(')?.1;
    let (mut depth, mut from) = (0_usize, 0);
    let mut stops = Vec::new();
    for (at, c) in arguments.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ',' | ')' if depth == 0 => {
                stops.push(arguments[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    // A position may follow the colour of a stop.
    stops.into_iter().find_map(|stop| opaque(stop).or_else(|| opaque(stop.rsplit_once(' ')?.0)))
}

/// Relative luminance (WCAG 2.2, definitions).
fn luminance(colour: [f32; 3]) -> f32 {
    let linear = |value: f32| if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) };
    0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2])
}

fn contrast(one: [f32; 3], other: [f32; 3]) -> f32 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn hex(colour: [f32; 3]) -> String {
    let [r, g, b] = colour;
    csscolorparser::Color::new(r, g, b, 1.0).to_css_hex().to_string()
}

pub fn readable(html: &str) -> String {
    let tokenizer = Tokenizer::new(Sink(RefCell::default()), html5ever::tokenizer::TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let mut pieces = tokenizer.sink.0.into_inner();
    settle_grounds(&mut pieces);
    replace_colours(&mut pieces);
    write(&pieces)
}

/// Replaces removed pictures: dark if most of their text is light, otherwise transparent.
fn settle_grounds(pieces: &mut Pieces) {
    let mut tally: HashMap<usize, (usize, usize)> = HashMap::new();
    for piece in &pieces.all {
        let Piece::Text { text, parent: Some(parent) } = piece else { continue };
        let Some(Element { colour, ground_of: Some(at), .. }) = pieces.element(*parent) else { continue };
        let (light, dark) = tally.entry(*at).or_default();
        let letters = text.chars().filter(|c| !c.is_whitespace()).count();
        *(if contrast(*colour, PAPER) < contrast(*colour, SLATE) { light } else { dark }) += letters;
    }
    // Parents come before their children.
    for at in 0..pieces.all.len() {
        let around = pieces.element(at).and_then(|element| pieces.element(element.parent?)).map(|around| around.behind);
        let Piece::Start(element) = &mut pieces.all[at] else { continue };
        element.behind = match element.ground {
            Some(Ground::Colour(colour)) => colour,
            Some(Ground::Lost) if tally.get(&at).is_some_and(|(light, dark)| light > dark) => {
                let _ = write!(element.more, "background-color:{};", hex(SLATE));
                SLATE
            }
            _ => around.unwrap_or(PAPER),
        };
    }
}

fn replace_colours(pieces: &mut Pieces) {
    let mut parents: Vec<usize> = pieces
        .all
        .iter()
        .filter_map(|piece| match piece {
            Piece::Text { text, parent } if !text.trim().is_empty() => *parent,
            _ => None,
        })
        .collect();
    parents.sort_unstable();
    parents.dedup();
    for at in parents {
        let Piece::Start(element) = &mut pieces.all[at] else { continue };
        let lowest = if element.chosen { LOWEST } else { LOWEST_OF_OURS };
        if contrast(element.colour, element.behind) < lowest {
            let behind = element.behind;
            let better = if contrast(INK, behind) >= contrast(PAPER, behind) { INK } else { PAPER };
            let _ = write!(element.more, "color:{};", hex(better));
        }
    }
}

fn write(pieces: &Pieces) -> String {
    let mut out = String::new();
    let quoted =
        |value: &str| value.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
    for piece in &pieces.all {
        match piece {
            Piece::Text { text, .. } => {
                out.push_str(
                    &text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\u{a0}', "&nbsp;"),
                );
            }
            Piece::End(name) => {
                let _ = write!(out, "</{name}>");
            }
            Piece::Start(element) => {
                let _ = write!(out, "<{}", element.name);
                let mut styled = false;
                for (name, value) in &element.attributes {
                    let more = if name == "style" { element.more.as_str() } else { "" };
                    styled |= name == "style";
                    let _ = write!(out, " {name}=\"{}\"", quoted(&format!("{value}{more}")));
                }
                if !styled && !element.more.is_empty() {
                    let _ = write!(out, " style=\"{}\"", quoted(&element.more));
                }
                out.push('>');
            }
        }
    }
    for at in pieces.open.iter().rev() {
        if let Some(element) = pieces.element(*at) {
            let _ = write!(out, "</{}>", element.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn light_text_gets_a_dark_ground_where_its_picture_is_gone() {
        let html = "<div style=\"--lost-ground:1;\"><p style=\"color:#fff;\">Open day</p></div>";
        assert_eq!(
            readable(html),
            "<div style=\"background-color:#333c4a;\"><p style=\"color:#fff;\">Open day</p></div>"
        );
        let html =
            "<table background=\"lost\"><tbody><tr><td><font color=\"white\">Open day</font></td></tr></tbody></table>";
        assert!(readable(html).contains("<table style=\"background-color:#333c4a;\">"), "{}", readable(html));
        let dark = "<div style=\"padding:1px;--lost-ground:1;\"><p>Open day</p></div>";
        assert_eq!(readable(dark), "<div style=\"padding:1px;\"><p>Open day</p></div>");
    }

    #[test]
    fn colours_that_cannot_be_read_are_replaced_and_others_stay() {
        for (html, part) in [
            ("<p style=\"color:#fff;\">lost</p>", "color:#1b2533"),
            ("<div style=\"background-color:#111;\"><a href=\"https://x.example\">link</a></div>", "color:#ffffff"),
            ("<table bgcolor=\"#000000\"><tbody><tr><td>ink</td></tr></tbody></table>", "color:#ffffff"),
            ("<table><tbody><tr bgcolor=\"101010\"><td>ink</td></tr></tbody></table>", "color:#ffffff"),
            (
                "<div style=\"color:#fff;\"><a style=\"color:inherit;\" href=\"https://x.example\">x</a></div>",
                "color:#1b2533",
            ),
            (
                "<div style=\"color:#fff;\"><a style=\"color:currentcolor;\" href=\"https://x.example\">x</a></div>",
                "color:#1b2533",
            ),
            // Browsers show none of these backgrounds and colours.
            ("<div bgcolor=\"#000000\"><font color=\"white\">lost</font></div>", "color:#1b2533"),
            (
                "<div style=\"background-image:linear-gradient(90deg,rgb(0,0,0) 10%,#333);\"><p>ink</p></div>",
                "color:#ffffff",
            ),
        ] {
            assert!(readable(html).contains(part), "{html}: {}", readable(html));
        }
        for html in [
            "<div style=\"background-color:#14213d;\"><p style=\"color:#ffffff;\">white on blue</p></div>",
            "<p style=\"color:#999;\">grey</p>",
            "<p>a &amp; b &lt;c&gt; <b>d</b><br>e</p>",
            "<a href=\"https://x.example/?a=1&amp;b=2\" title=\"&quot;q&quot;\">x</a>",
            "<div style=\"background-color:rgba(0,0,0,.1);\"><p>ink</p></div>",
        ] {
            assert_eq!(readable(html), html);
        }
    }

    #[test]
    fn deep_nesting_takes_no_long_time() {
        let started = std::time::Instant::now();
        let html = format!("{}x{}", "<div>".repeat(500), "</div>".repeat(500)).repeat(40);
        assert_eq!(readable(&html), html);
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
