//! Rules about the source itself: the words that people see, and which module may use which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Unidiomatic words; shown texts use the plain alternative.
const REFUSED: &[&str] = &[
    "mend",
    "mends",
    "mended",
    "mending",
    "whoever",
    "whichever",
    "nobody",
    "somebody",
    "anybody",
    "everybody",
    "by itself",
    "by themselves",
    "thrown away",
    "throw away",
    "throws away",
    "letter",
    "lies in",
    "leaves by",
    "what becomes of",
    "what became of",
    "shall",
    "hand it over",
    "hand them over",
    "hand on",
    "hands on",
    "handed over",
    "evidence",
    "any more",
    "set anew",
    "made anew",
    "go on",
    "goes on",
    "once more",
    "came back",
    "organisation",
    "to be tried",
    "sent or not",
    "give it to",
    "looked into",
    "looked through",
    "at the moment",
    "forgets",
    "forgotten",
    "is no setting",
    "it was left",
    "stand",
    "stands",
    "at once",
    "anew",
    "connect again",
    "octets",
    "judges",
];

fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let mut found = Vec::new();
    let mut left = vec![root];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 10, "{directory}");
    found
}

/// String literals and error texts, without documentation and unit tests.
fn strings(tokens: TokenStream, found: &mut Vec<String>) {
    let mut before: Option<TokenTree> = None;
    let mut is_test = false;
    for token in tokens {
        match &token {
            TokenTree::Group(group) => {
                let attribute = group.delimiter() == Delimiter::Bracket
                    && matches!(&before, Some(TokenTree::Punct(mark)) if matches!(mark.as_char(), '#' | '!'));
                if attribute {
                    let text = group.stream().to_string();
                    is_test |= text.replace(' ', "") == "cfg(test)";
                    // What thiserror shows.
                    if text.starts_with("error") {
                        strings(group.stream(), found);
                    }
                } else if is_test && group.delimiter() == Delimiter::Brace {
                    is_test = false;
                } else {
                    strings(group.stream(), found);
                }
            }
            TokenTree::Literal(literal) => found.push(literal.to_string()),
            TokenTree::Punct(mark) if mark.as_char() == ';' => is_test = false,
            _ => {}
        }
        before = Some(token);
    }
}

fn has_words(text: &str, words: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    text.match_indices(words)
        .any(|(at, _)| !is_word(text[..at].chars().next_back()) && !is_word(text[at + words.len()..].chars().next()))
}

#[test]
fn what_people_see_is_plain_english() {
    let mut wrong = Vec::new();
    let mut texts = 0;
    for (path, source) in sources("app/src").into_iter().chain(sources("server/src")) {
        let mut found = Vec::new();
        strings(source.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display())), &mut found);
        for text in found.iter().filter(|text| text.starts_with('"') && text.contains(' ')) {
            texts += 1;
            let lower = text.to_lowercase();
            wrong.extend(
                REFUSED
                    .iter()
                    .filter(|words| has_words(&lower, words))
                    .map(|words| format!("{}: “{words}” in {text}", path.display())),
            );
        }
    }
    // Help texts of the command line are documentation comments.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documents = [
        "README.md",
        "server/ARCHITECTURE.md",
        "server/SETTINGS.md",
        "server/src/main.rs",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
        ".github/CHANGELOG.md",
        "end2end/README.md",
    ];
    for document in documents {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for line in text.lines() {
            let lower = line.to_lowercase();
            let found = REFUSED.iter().filter(|words| has_words(&lower, words));
            wrong.extend(found.map(|words| format!("{document}: “{words}” in {line}")));
        }
    }
    assert!(texts > 1_000, "{texts} texts were read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Layers of the server, from the top. A module uses its own layer and those below.
const FLOORS: [&[&str]; 11] = [
    &["demo"],
    &["wiring"],
    &["http", "relay"],
    &["service"],
    &["outbox", "mailbox_sync"],
    &["access_tokens"],
    &["app_credentials"],
    &["store"],
    &["diagnosis"],
    &["identity", "mail", "dns"],
    &[
        "config",
        "vault",
        "message",
        "concurrency",
        "clock",
        "csv",
        "logging",
        "microsoft_changes",
        "network",
        "panics",
        "trust",
    ],
];

/// Modules a file names: `crate::a::b` or `super::c`, also in `use crate::{a, b::c}`.
fn uses(tokens: TokenStream, prefix: &[String], found: &mut BTreeSet<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut path: Vec<String> = prefix.to_vec();
    let mut at = 0;
    let is_colons = |at: usize| {
        let is = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
        is(tokens.get(at)) && is(tokens.get(at + 1))
    };
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(name) => {
                let goes_on = is_colons(at + 1);
                if path.is_empty() && *name != "crate" && *name != "super" {
                    at += 1;
                    continue;
                }
                path.push(name.to_string());
                if goes_on {
                    at += 3;
                    continue;
                }
                found.insert(path.clone());
                path = prefix.to_vec();
            }
            TokenTree::Group(group) => {
                let inside = if path.len() > prefix.len() || !prefix.is_empty() { path.clone() } else { Vec::new() };
                uses(group.stream(), &inside, found);
                path = prefix.to_vec();
            }
            _ => path = prefix.to_vec(),
        }
        at += 1;
    }
}

#[test]
fn dependencies_point_downwards_and_the_pure_modules_stay_pure() {
    let floor = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
    let mut wrong = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/src");
    let mut between: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, source) in sources("server/src") {
        let relative = path.strip_prefix(&root).unwrap().with_extension("");
        let module = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        if matches!(module.as_str(), "main" | "lib" | "commands") {
            continue;
        }
        let own = floor(&module).unwrap_or_else(|| panic!("{module} stands on no floor"));
        let production = source.split("#[cfg(test)]\nmod ").next().unwrap();
        let mut named = BTreeSet::new();
        uses(production.parse().unwrap(), &[], &mut named);
        let absolute = named.iter().filter(|path| path[0] == "crate");
        for used in absolute.filter_map(|path| path.get(1)).filter(|used| **used != module) {
            between.entry(module.clone()).or_default().insert(used.clone());
            match floor(used) {
                Some(other) if other < own => wrong.push(format!("{}: crate::{used} is above", relative.display())),
                Some(_) => {}
                None => wrong.push(format!("{}: crate::{used} stands on no floor", relative.display())),
            }
        }
        if module == "message" || relative.ends_with("outbox/retry_policy") {
            for impure in ["crate::clock", "crate::store", "tokio::", "std::fs", "std::net", "sqlx"] {
                if production.contains(impure) {
                    wrong.push(format!("{}: {impure} in a pure module", relative.display()));
                }
            }
        }
    }
    // No cycles, within a layer either: removes modules that no remaining module uses.
    let mut left: BTreeSet<String> = FLOORS.concat().iter().map(ToString::to_string).collect();
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|module| between.get(*module).is_none_or(|used| used.is_disjoint(&left)))
            .cloned()
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module| !free.contains(module));
    }
    assert!(left.is_empty(), "a circle: {left:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No file uses, by a path, a sibling that leads back to it: at every level, so that each folder can be read from the bottom up.
#[test]
fn files_of_a_folder_do_not_use_each_other_in_a_circle() {
    for directory in ["server/src", "server/sandbox/src"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
        let files: Vec<(Vec<String>, String)> = sources(directory)
            .into_iter()
            .map(|(path, source)| {
                let relative = path.strip_prefix(&root).unwrap().with_extension("");
                let parts = relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
                (parts.filter(|part| part != "mod" && part != "lib" && part != "main").collect(), source)
            })
            .collect();
        let modules: BTreeSet<&[String]> =
            files.iter().flat_map(|(path, _)| (1..=path.len()).map(|length| &path[..length])).collect();
        let mut between: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
        for (own, source) in &files {
            let production = source.split("#[cfg(test)]\nmod ").next().unwrap();
            let mut named = BTreeSet::new();
            uses(production.parse().unwrap(), &[], &mut named);
            for path in named {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let base = if path[0] == "crate" { 0 } else { own.len().saturating_sub(ups) };
                let target = [&own[..base], &path[ups.max(1)..]].concat();
                let shared = own.iter().zip(&target).take_while(|(one, other)| one == other).count();
                if shared >= own.len() || shared >= target.len() {
                    continue;
                }
                if let Some(used) = modules.get(&target[..=shared]) {
                    between.entry(&own[..=shared]).or_default().insert(used);
                }
            }
        }
        let mut left = modules.clone();
        loop {
            let free: Vec<&[String]> = left
                .iter()
                .filter(|module| between.get(**module).is_none_or(|used| used.is_disjoint(&left)))
                .copied()
                .collect();
            if free.is_empty() {
                break;
            }
            left.retain(|module| !free.contains(module));
        }
        let circle: Vec<_> = left.iter().map(|module| module.join("::")).collect();
        assert!(circle.is_empty(), "{directory}: {circle:?}");
        assert!(between.len() > 5, "{directory}: {}", between.len());
    }
}

/// `path!` takes only literals, so the routes repeat the constants of the model.
#[test]
fn every_path_of_a_page_has_its_route() {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
    let (paths, routes) = (read("app/src/model/path.rs"), read("app/src/shell.rs") + &read("server/src/http/mod.rs"));
    let constants = paths
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.strip_suffix("\";")?.split_once(": &str = \""));
    let mut count = 0;
    for (name, path) in constants {
        count += 1;
        assert!(
            routes.contains(&format!("path!(\"{path}\")"))
                || routes.contains(&format!("route({name}"))
                || routes.contains(&format!("route(&format!(\"{{{name}}}")),
            "{name}"
        );
    }
    assert!(count > 10, "{count}");
}
