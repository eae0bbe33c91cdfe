//! Sanitises `style` attributes. Keeps properties of an allow list, and rebuilds values from their tokens without URLs. Marks
//! removed background pictures, so that light text does not stay on white (see
//! [`super::contrast`]).

use cssparser::{BasicParseErrorKind, Delimiter, ParseError, Parser, ToCss, Token};

/// Allowed properties: none loads anything or leaves the frame.
const PROPERTIES: [&str; 68] = [
    "background-color",
    "border",
    "border-bottom",
    "border-bottom-color",
    "border-bottom-style",
    "border-bottom-width",
    "border-collapse",
    "border-color",
    "border-left",
    "border-left-color",
    "border-left-style",
    "border-left-width",
    "border-radius",
    "border-right",
    "border-right-color",
    "border-right-style",
    "border-right-width",
    "border-spacing",
    "border-style",
    "border-top",
    "border-top-color",
    "border-top-style",
    "border-top-width",
    "border-width",
    "box-sizing",
    "clear",
    "color",
    "direction",
    "display",
    "float",
    "font",
    "font-family",
    "font-size",
    "font-style",
    "font-variant",
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
    "min-height",
    "min-width",
    "opacity",
    "overflow",
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
    "unicode-bidi",
    "vertical-align",
    "visibility",
    "white-space",
    "width",
    "word-break",
    "word-wrap",
];

const FUNCTIONS: [&str; 13] =
    ["rgb", "rgba", "hsl", "hsla", "hwb", "lab", "lch", "oklab", "oklch", "calc", "min", "max", "clamp"];

const GRADIENTS: [&str; 4] =
    ["linear-gradient", "radial-gradient", "repeating-linear-gradient", "repeating-radial-gradient"];

/// Deepest nesting of functions.
const DEPTH: usize = 8;
/// Most declarations of one attribute.
const DECLARATIONS: usize = 200;

/// Marks a removed background picture in a style. [`super::contrast`] removes the mark.
pub(super) const LOST_GROUND: &str = "--lost-ground";

enum Component {
    Plain(String),
    Colour(String),
    Gradient(String),
    Picture,
    Comma,
}

type Failed = ParseError<()>;

fn failed() -> Failed {
    ParseError::from_basic_kind(BasicParseErrorKind::UnexpectedToken)
}

/// The components of a value. Fails if one is not known to be harmless.
fn components(parser: &mut Parser<'_>, depth: usize) -> Result<Vec<Component>, Failed> {
    let mut found = Vec::new();
    while let Ok(token) = parser.next_including_whitespace().cloned() {
        let component = match &token {
            Token::Ident(name) if csscolorparser::parse(name).is_ok() => Component::Colour(token.to_css_string()),
            Token::Ident(_)
            | Token::QuotedString(_)
            | Token::Number { .. }
            | Token::Percentage { .. }
            | Token::Dimension { .. }
            | Token::Delim('/' | '+' | '-' | '*') => Component::Plain(token.to_css_string()),
            Token::WhiteSpace(_) => Component::Plain(" ".to_owned()),
            Token::Delim('!') => {
                // Style sheets are inlined already: nothing overrides these attributes.
                parser.expect_ident_matching("important")?;
                continue;
            }
            Token::Comma => Component::Comma,
            Token::Hash(_) | Token::IDHash(_) => Component::Colour(token.to_css_string()),
            Token::UnquotedUrl(_) => Component::Picture,
            Token::Function(name) => {
                let name = name.to_ascii_lowercase();
                function(parser, &name, depth)?
            }
            _ => return Err(failed()),
        };
        found.push(component);
    }
    Ok(found)
}

fn function(parser: &mut Parser<'_>, name: &str, depth: usize) -> Result<Component, Failed> {
    let gradient = GRADIENTS.contains(&name);
    if ["url", "image", "image-set", "-webkit-image-set", "cross-fade", "-webkit-gradient"].contains(&name) {
        parser.parse_nested_block(|inner| {
            while inner.next().is_ok() {}
            Ok::<_, Failed>(())
        })?;
        return Ok(Component::Picture);
    }
    if depth >= DEPTH || !(gradient || FUNCTIONS.contains(&name)) {
        return Err(failed());
    }
    let arguments = parser.parse_nested_block(|inner| components(inner, depth + 1))?;
    let written = format!("{name}({})", written(&arguments).ok_or_else(failed)?);
    Ok(match name {
        _ if gradient => Component::Gradient(written),
        "calc" | "min" | "max" | "clamp" => Component::Plain(written),
        _ => Component::Colour(written),
    })
}

/// Components as a value; `None` if one is a picture.
fn written(all: &[Component]) -> Option<String> {
    let mut out = String::new();
    for one in all {
        match one {
            Component::Plain(text) | Component::Colour(text) | Component::Gradient(text) => out.push_str(text),
            Component::Comma => out.push(','),
            Component::Picture => return None,
        }
    }
    Some(out.trim().to_owned())
}

/// Sanitises a `style` attribute.
pub fn sanitised(style: &str) -> String {
    let mut parser = Parser::new(style);
    let mut out = String::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(name);
            out.push(':');
            out.push_str(value);
            out.push(';');
        }
    };
    // Unlike in browsers, a later picture does not reset an earlier background colour: text must stay readable.
    let (mut ground, mut gradient, mut picture): (Option<String>, Option<String>, bool) = (None, None, false);
    // A copy positioned outside the page: it would be visible without `position`.
    let (mut taken_out, mut outside) = (false, false);
    for _ in 0..DECLARATIONS {
        if parser.is_exhausted() {
            break;
        }
        let declared = parser.parse_until_after(Delimiter::Semicolon, |parser| {
            let name = parser.expect_ident()?.to_ascii_lowercase();
            parser.expect_colon()?;
            Ok::<_, Failed>((name, components(parser, 0)?))
        });
        let Ok((name, value)) = declared else { continue };
        match name.as_str() {
            "position" => taken_out = written(&value).is_some_and(|word| word == "absolute" || word == "fixed"),
            "left" | "top" | "right" | "bottom" => outside |= is_far_outside(&value),
            "background" | "background-image" | "background-color" => {
                for component in &value {
                    match component {
                        Component::Colour(colour) => ground = Some(colour.clone()),
                        Component::Gradient(text) => gradient = Some(text.clone()),
                        Component::Picture => picture = true,
                        Component::Plain(word) if name == "background-color" => ground = known_word(word).or(ground),
                        Component::Plain(word) if word.eq_ignore_ascii_case("none") && name == "background" => {
                            (ground, gradient) = (Some("transparent".to_owned()), None);
                        }
                        Component::Plain(_) | Component::Comma => {}
                    }
                }
            }
            name if PROPERTIES.contains(&name) => put(name, &written(&value).unwrap_or_default()),
            // A list marker may be a picture: keeps the rest.
            name @ "list-style" => {
                let rest: Vec<Component> =
                    value.into_iter().filter(|component| !matches!(component, Component::Picture)).collect();
                put(name, &written(&rest).unwrap_or_default());
            }
            _ => {}
        }
    }
    if taken_out && outside {
        put("display", "none");
    }
    put("background-color", ground.as_deref().unwrap_or_default());
    put("background-image", gradient.as_deref().unwrap_or_default());
    let ends_here = ground.is_none_or(|ground| ground == "transparent") && gradient.is_none();
    put(LOST_GROUND, if picture && ends_here { "1" } else { "" });
    out
}

/// Whether an offset moves an element out of sight, as `-9999px` does.
fn is_far_outside(value: &[Component]) -> bool {
    let text = written(value).unwrap_or_default().to_ascii_lowercase();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    number.parse::<f32>().is_ok_and(|number| number <= -500.0 || (number <= -100.0 && !text.ends_with("px")))
}

fn known_word(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    ["inherit", "initial", "unset"].contains(&word.as_str()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::sanitised;

    #[test]
    fn colour_and_ground_stay_together() {
        for (style, left) in [
            ("background:#14213d;padding:24px", "padding:24px;background-color:#14213d;"),
            ("background:#14213d url('https://x.example/b.png') repeat-x", "background-color:#14213d;"),
            ("BACKGROUND: URL(https://x.example/b.png) NO-REPEAT #FFF; COLOR: Red", "color:Red;background-color:#FFF;"),
            ("background:url(a.png)center/cover rgba(0, 0, 0, .5)", "background-color:rgba(0, 0, 0, .5);"),
            ("background:url(a.png)", "--lost-ground:1;"),
            ("background-image:url('data:image/png;base64,aaaa;bb');color:#fff", "color:#fff;--lost-ground:1;"),
            ("background-color:navy;background-image:url(a.png)", "background-color:navy;"),
            (
                "background:linear-gradient(90deg,#000,#333 50%)",
                "background-image:linear-gradient(90deg,#000,#333 50%);",
            ),
            ("background:none", "background-color:transparent;"),
            ("background:url(x) #000 !important", "background-color:#000;"),
        ] {
            assert_eq!(sanitised(style).replace("0.5", ".5"), left, "{style}");
        }
    }

    #[test]
    fn nothing_loads_and_nothing_leaves_its_place() {
        for style in [
            "position:fixed;top:0",
            "width:expression(alert(1))",
            "behavior:url(x.htc)",
            "-moz-binding:url(x)",
            "color:var(--x)",
            "content:url(https://x.example/a)",
            "cursor:url(https://x.example/a),auto",
            "list-style-image:url(https://x.example/a)",
            "border-image:url(https://x.example/a) 1",
            "font-family:url(https://x.example/a)",
            "width:\\75rl(https://x.example/a)",
            "@import url(https://x.example/a)",
            "color:red}body{background:url(https://x.example/a)",
            "background:image-set(\"https://x.example/a\" 1x)",
            "filter:url(#x)",
            "transform:scale(99)",
            "z-index:99;inset:0",
            "mask:url(x)",
        ] {
            let left = sanitised(style).to_lowercase();
            for word in
                ["url", "x.example", "position", "expression", "var(", "import", "transform", "z-index", "inset"]
            {
                assert!(!left.contains(word), "{style} left {left}");
            }
        }
        assert_eq!(sanitised("list-style:square url(https://x.example/a)"), "list-style:square;");
        assert_eq!(sanitised("color:red;;nonsense;width:10px;height"), "color:red;width:10px;");
        assert_eq!(
            sanitised("font:bold 11.0pt/1.2 \"Calibri\",sans-serif"),
            "font:bold 11.0pt/1.2 \"Calibri\",sans-serif;"
        );
    }

    #[test]
    fn hostile_styles_take_no_long_time() {
        let started = std::time::Instant::now();
        for style in
            ["a(".repeat(200_000), "calc(".repeat(200_000), "color:red;".repeat(100_000), "{[(".repeat(100_000)]
        {
            let _ = sanitised(&style);
            let _ = sanitised(&format!("width:{style}"));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
