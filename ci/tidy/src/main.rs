//! What must hold in this repository and no lint can keep. Prints each breach with file, line and
//! rule; exits with 1 when there is one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// A rule about the text of product code: where it holds, what may not stand there, why.
struct Rule {
    under: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        under: &["core/", "shells/", "platforms/", "ci/"],
        except: &["ci/tidy/"],
        words: &["todo!(", "unimplemented!(", "dbg!("],
        why: "nothing unfinished lands",
    },
    Rule {
        under: &["core/", "shells/"],
        except: &["shells/bare/"],
        words: &["unsafe {", "unsafe fn", "unsafe impl"],
        why: "unsafe stands under platforms/ only",
    },
    Rule {
        under: &["core/"],
        except: &[],
        words: &[
            "std::time",
            "std::thread",
            "std::net",
            "std::fs",
            "std::env",
            "std::io",
            "SystemTime::now",
            "Instant::now(",
        ],
        why: "the core has no clock, no thread and no I/O",
    },
    Rule {
        under: &["core/node/"],
        except: &[],
        words: &["f32", "f64", "HashMap", "HashSet"],
        why: "a replay of the node must be a replay: no floats, no order that is not ours",
    },
];

/// Lines that a file may have before it must be split where its nouns part.
const LINES_MAX: usize = 900;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("ci/tidy lies two below the root");
    let mut breaches = Vec::new();
    for path in rust_files(root) {
        let name = path.strip_prefix(root).expect("walked from the root").to_string_lossy().replace('\\', "/");
        let Ok(text) = fs::read_to_string(&path) else {
            breaches.push(format!("{name}: is not UTF-8"));
            continue;
        };
        breaches.extend(check(&name, &text));
    }
    breaches.extend(strangers(root));
    for breach in &breaches {
        eprintln!("{breach}");
    }
    if breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Breaches of the text rules in one file.
fn check(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let product: Vec<&str> = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect();
    if !is_test(name) {
        for (number, line) in product.iter().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for rule in RULES.iter().filter(|rule| applies(rule, name)) {
                if let Some(word) = rule.words.iter().find(|word| has_word(code, word)) {
                    found.push(format!("{name}:{}: `{word}`: {}", number + 1, rule.why));
                }
            }
        }
        if product.len() > LINES_MAX {
            found.push(format!("{name}: {} lines before its tests; split it where its nouns part", product.len()));
        }
    }
    let root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    if root && !text.starts_with("//!") {
        found.push(format!("{name}: a crate begins with what it is (`//!`)"));
    }
    found
}

fn applies(rule: &Rule, name: &str) -> bool {
    rule.under.iter().any(|u| name.starts_with(u)) && !rule.except.iter().any(|e| name.starts_with(e))
}

fn is_test(name: &str) -> bool {
    ["/tests/", "/benches/", "/examples/", "ci/fuzz/"].iter().any(|part| name.contains(part))
        || name.ends_with("/tests.rs")
}

/// Whether `word` stands in `code` and is not a part of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part);
        let after = word.ends_with(part) && code[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

/// `node` and `llm` do not know each other, nor any crate outside `core/`.
fn strangers(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["core/node", "core/llm"] {
        let text = fs::read_to_string(root.join(name).join("Cargo.toml")).unwrap_or_default();
        let ours = text.lines().filter(|line| line.starts_with("tutu-"));
        found.extend(ours.map(|line| format!("{name}/Cargo.toml: `{line}`: the core depends on nothing of ours")));
        let source = fs::read_to_string(root.join(name).join("src/lib.rs")).unwrap_or_default();
        for needed in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            if !source.contains(needed) {
                found.push(format!("{name}/src/lib.rs: `{needed}` is missing"));
            }
        }
    }
    found
}

fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["core", "platforms", "shells", "ci"].iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_in_the_node_is_found_and_one_in_its_tests_is_not() {
        let text = "//! x\nfn a(x: f32) {}\n#[cfg(test)]\nmod tests { fn b(x: f64) {} }\n";
        assert_eq!(check("core/node/src/a.rs", text).len(), 1);
        assert!(check("core/llm/src/a.rs", text).is_empty());
    }

    #[test]
    fn a_word_inside_another_is_none() {
        assert!(!has_word("let buf32 = 1;", "f32"));
        assert!(has_word("x as f32;", "f32"));
        assert!(!has_word("// f32", "std::time"));
    }

    #[test]
    fn unsafe_is_allowed_on_platforms_only() {
        let text = "//! x\nfn a() { unsafe { b() } }\n";
        assert_eq!(check("shells/smol/src/a.rs", text).len(), 1);
        assert!(check("platforms/cpu/src/a.rs", text).is_empty());
    }
}
