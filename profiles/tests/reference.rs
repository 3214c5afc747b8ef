//! `docs/cluster.md` is the schema's descriptions in prose, and the schema names only what there is.
//!
//! `UPDATE_EXPECTED=1 cargo test -p prejoin-profiles --test reference` writes the page anew.
#![expect(
    clippy::disallowed_methods,
    reason = "tests compare what is made with what is on the disk"
)]
#![allow(clippy::unwrap_used, reason = "test helpers fail like tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use prejoin_profiles::catalog::{Catalog, Kind};
use prejoin_profiles::cluster::Cluster;
use serde_json::{Map, Value};

const HEAD: &str = "\
# cluster.yaml, key by key

Made from the descriptions that `prejoin schema` prints; a test keeps the two alike. `prejoin init` writes that schema beside the
cluster file, and editors with a YAML language server (VS Code, Neovim, Helix, JetBrains) show the same texts while you type.
Examples: `prejoin init --example list`. Keys in **bold** have to be there.
";

/// The order in which somebody writes a file; what is not named here follows by name.
const ORDER: [&str; 8] = [
    "Kubernetes",
    "Endpoint",
    "Network",
    "User",
    "File",
    "Artifacts",
    "Defaults",
    "Node",
];

fn schema() -> Value {
    serde_json::from_str(&Cluster::schema()).unwrap()
}

/// What a value is, in a word or two, with a link where it has keys of its own.
fn kind(value: &Value, definitions: &Map<String, Value>) -> String {
    if let Some(name) = value["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        let definition = &definitions[name];
        return match definition["properties"].as_object() {
            Some(_) => format!("[{name}](#{})", name.to_lowercase()),
            None => choices(definition).unwrap_or_else(|| kind(definition, definitions)),
        };
    }
    if let Some(list) = value["anyOf"].as_array() {
        let kinds: Vec<String> = list
            .iter()
            .filter(|one| one["type"] != "null")
            .map(|one| kind(one, definitions))
            .collect();
        return kinds.join(" or ");
    }
    let types: Vec<&str> = match &value["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec!["string"],
    };
    match types[0] {
        "array" => format!("list of {}", kind(&value["items"], definitions)),
        "object" => "keys and values".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => match (value["minimum"].as_u64(), value["maximum"].as_u64()) {
            (Some(least), Some(most)) => format!("number, {least} to {most}"),
            _ => "number".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// The words that a value may be.
fn choices(definition: &Value) -> Option<String> {
    let list = definition["oneOf"].as_array()?;
    let words: Vec<String> = list
        .iter()
        .map(|one| format!("`{}`", one["const"].as_str().unwrap()))
        .collect();
    Some(words.join(", "))
}

fn table(object: &Value, definitions: &Map<String, Value>) -> String {
    let required: BTreeSet<&str> = object["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut text = String::from("| key | value | |\n|---|---|---|\n");
    let properties = object["properties"].as_object().unwrap();
    let (needed, others): (Vec<_>, Vec<_>) = properties
        .iter()
        .partition(|(key, _)| required.contains(key.as_str()));
    for (key, value) in needed.into_iter().chain(others) {
        let name = match required.contains(key.as_str()) {
            true => format!("**`{key}`**"),
            false => format!("`{key}`"),
        };
        let about = value["description"].as_str().unwrap_or_default();
        let kind = kind(value, definitions);
        let about = about.replace('|', "\\|");
        let _ = writeln!(text, "| {name} | {kind} | {about} |");
    }
    text
}

fn page() -> String {
    let schema = schema();
    let definitions = schema["$defs"].as_object().unwrap();
    let mut page = format!("{HEAD}\n{}", table(&schema, definitions));
    let others = definitions
        .keys()
        .map(String::as_str)
        .filter(|name| !ORDER.contains(name));
    for name in ORDER.into_iter().chain(others) {
        let definition = &definitions[name];
        let about = definition["description"].as_str().unwrap_or_default();
        if definition["properties"].is_object() {
            let table = table(definition, definitions);
            let _ = write!(page, "\n## {name}\n\n{about}\n\n{table}");
        } else if let Some(list) = definition["oneOf"].as_array() {
            let _ = write!(page, "\n## {name}\n\n{about}\n\n| value | |\n|---|---|\n");
            for one in list {
                let word = one["const"].as_str().unwrap();
                let about = one["description"].as_str().unwrap_or_default();
                let _ = writeln!(page, "| `{word}` | {about} |");
            }
        }
    }
    page
}

#[test]
fn the_page_says_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cluster.md");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written,
        page(),
        "docs/cluster.md: UPDATE_EXPECTED=1 writes it"
    );
}

/// The words in backquotes of a description, but for paths and what follows "such as".
fn named(description: &str) -> Vec<&str> {
    description
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| !word.contains('/'))
        .collect()
}

#[test]
fn the_schema_names_only_what_there_is() {
    let schema = schema();
    let catalog = Catalog::embedded();
    let at = |path: &str| schema.pointer(path).unwrap().clone();
    for (kind, path) in [
        (Kind::Set, "/properties/sets"),
        (Kind::Os, "/properties/os"),
        (Kind::Board, "/$defs/Defaults/properties/board"),
        (Kind::Layout, "/$defs/Defaults/properties/layout"),
    ] {
        let known = catalog.names(kind);
        let property = at(path);
        let description = property["description"].as_str().unwrap().to_owned();
        let examples = property["examples"].as_array().unwrap();
        let examples = examples.iter().flat_map(|one| match one {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        });
        let examples: Vec<String> = examples
            .map(|one| one.as_str().unwrap().to_owned())
            .collect();
        let names = named(&description)
            .into_iter()
            .map(str::to_owned)
            .chain(examples);
        for name in names {
            assert!(known.contains(&name), "{path} names `{name}`: {known:?}");
        }
        let missing: Vec<_> = known
            .iter()
            .filter(|name| !named(&description).contains(&name.as_str()))
            .collect();
        assert!(missing.is_empty(), "{path} does not name {missing:?}");
    }
}
