//! Pages as strings, without a framework.

/// Escapes text for elements and attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

const STYLE: &str = "
:root{color-scheme:light dark;--paper:#f3f2f1;--sheet:#fff;--ink:#1b1a19;--soft:#565452;--line:#8a8886;--blue:#0b5a9e;--code:#efeeed}
@media(prefers-color-scheme:dark){:root{--paper:#161514;--sheet:#22211f;--ink:#f3f2f1;--soft:#bdbab7;--line:#7d7a77;--blue:#8cc4f5;--code:#2d2b29}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px 16px 48px}main.narrow{max-width:440px;padding-top:10vh}
section{background:var(--sheet);border:1px solid color-mix(in srgb,var(--line) 40%,transparent);border-radius:6px;padding:20px;margin:0 0 16px;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:0 0 8px}h2{font-size:1.1rem;margin:0 0 12px}p{margin:0 0 12px}.soft{color:var(--soft);font-size:.9rem}
label{display:block;margin:0 0 12px;font-weight:600}label.check{font-weight:400;display:flex;gap:8px;align-items:center;min-height:32px;margin:0}
input:not([type=checkbox]),select,textarea{display:block;width:100%;font:inherit;padding:9px;border:1px solid var(--line);border-radius:4px;background:var(--sheet);color:var(--ink)}
button{font:inherit;font-weight:600;padding:10px 18px;border:1px solid var(--blue);border-radius:4px;background:var(--blue);color:var(--sheet);cursor:pointer;margin:0 8px 8px 0}
button.plain{background:none;color:var(--blue)}button.account{display:block;width:100%;text-align:left;background:none;color:var(--ink);border-color:var(--line)}
a{color:var(--blue)}code,pre{font-family:ui-monospace,monospace;background:var(--code);padding:2px 5px;border-radius:3px;font-size:.9rem}pre{padding:12px;overflow:auto;white-space:pre-wrap}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:6px 10px 6px 0;border-bottom:1px solid color-mix(in srgb,var(--line) 40%,transparent);vertical-align:top}
.grid{display:grid;gap:4px 24px;grid-template-columns:repeat(auto-fill,minmax(260px,1fr))}.error{color:#b10e1c;font-weight:600}iframe{width:100%;min-height:320px;border:1px solid var(--line);background:#fff}
:focus-visible{outline:3px solid var(--blue);outline-offset:2px}
@media(prefers-color-scheme:dark){.error{color:#ff9aa2}}";

/// A whole page.
pub(crate) fn page(title: &str, narrow: bool, body: &str) -> axum::response::Html<String> {
    let class = if narrow { " class=\"narrow\"" } else { "" };
    axum::response::Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head><body><main{class}>{body}</main></body></html>",
        title = escape(title)
    ))
}
