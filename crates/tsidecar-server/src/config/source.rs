//! A configuration file as text: where a key stands in it, and errors that name file, line and key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// Why the configuration cannot be used. The text names file, line and key, and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The document of a client is wrong.
    #[error("{}: {message}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Something in a file is wrong.
    #[error("{}:{line}: {key}{message}", path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key with its table and a colon after it, as in `[listen] socket: `; empty when it is no question of a key.
        key: String,
        /// What is wrong, and what is allowed.
        message: String,
    },
}

/// One step to a value: into a table by key, or into an array by index.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The text of one file.
pub(super) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { path: path.to_owned(), text }),
            Err(error) => Err(ConfigError::Read { path: path.to_owned(), error }),
        }
    }

    pub(super) fn from_text(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.to_owned() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole text as one type; the type says which keys there are.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let message = in_our_words(error.message());
            match error.span() {
                Some(span) => self.error_at(&span, message),
                None => self.error(0, String::new(), message),
            }
        })
    }

    /// An error at the value that the steps lead to, or at the deepest table on the way that exists.
    pub(super) fn error_in(&self, steps: &[Step<'_>], message: impl Into<String>) -> ConfigError {
        let (line, key) = self.place(steps);
        ConfigError::At { path: self.path.clone(), line, key, message: message.into() }
    }

    /// As [`Self::error_in`], as the text of a warning.
    pub(super) fn warning_in(&self, steps: &[Step<'_>], message: &str) -> String {
        self.error_in(steps, message).to_string()
    }

    fn error_at(&self, span: &Range<usize>, message: String) -> ConfigError {
        let key = DeTable::parse(&self.text).ok().and_then(|table| {
            let mut found = None;
            search(table.get_ref(), span.start, &mut Vec::new(), &mut found);
            found
        });
        self.error(span.start, key.unwrap_or_default(), message)
    }

    fn error(&self, offset: usize, key: String, message: String) -> ConfigError {
        ConfigError::At { path: self.path.clone(), line: self.line(offset), key, message }
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn place(&self, steps: &[Step<'_>]) -> (usize, String) {
        let Ok(root) = DeTable::parse(&self.text) else { return (1, String::new()) };
        let mut names = Vec::new();
        let mut offset = 0;
        let mut here = Node::Table(root.get_ref());
        for step in steps {
            let (next, at) = match (*step, here) {
                (Step::Key(key), Node::Table(table)) => {
                    names.push(Name { key: key.to_owned(), kind: Kind::Value });
                    let found = table.iter().find(|(name, _)| name.get_ref().as_ref() == key);
                    let Some((name, value)) = found else { break };
                    if let Some(last) = names.last_mut() {
                        last.kind = Kind::of(value.get_ref());
                    }
                    (value.get_ref(), name.span().start)
                }
                (Step::Index(index), Node::Array(array)) => match array.get(index) {
                    Some(item) => (item.get_ref(), item.span().start),
                    None => break,
                },
                (Step::Key(_), Node::Array(_) | Node::Leaf)
                | (Step::Index(_), Node::Table(_) | Node::Leaf) => {
                    break;
                }
            };
            offset = at;
            here = Node::of(next);
        }
        (self.line(offset), display(&names))
    }
}

#[derive(Clone, Copy)]
enum Node<'a> {
    Table(&'a DeTable<'a>),
    Array(&'a toml::de::DeArray<'a>),
    Leaf,
}

impl<'a> Node<'a> {
    fn of(value: &'a DeValue<'a>) -> Self {
        match (value.as_table(), value.as_array()) {
            (Some(table), _) => Self::Table(table),
            (None, Some(array)) => Self::Array(array),
            (None, None) => Self::Leaf,
        }
    }
}

/// A key on the way to a value, and what stands under it.
#[derive(Clone)]
struct Name {
    key: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Table,
    Tables,
    Value,
}

impl Kind {
    fn of(value: &DeValue<'_>) -> Self {
        let is_table = |value: &toml::Spanned<DeValue<'_>>| value.get_ref().is_table();
        match (value.is_table(), value.as_array()) {
            (true, _) => Self::Table,
            (false, Some(array)) if array.first().is_some_and(is_table) => Self::Tables,
            (false, _) => Self::Value,
        }
    }
}

/// Finds the innermost key at an offset: one whose name or value covers it.
fn search(table: &DeTable<'_>, offset: usize, names: &mut Vec<Name>, found: &mut Option<String>) {
    for (name, value) in table {
        names.push(Name { key: name.get_ref().to_string(), kind: Kind::of(value.get_ref()) });
        if name.span().contains(&offset) || value.span().contains(&offset) {
            *found = Some(display(names));
        }
        match Node::of(value.get_ref()) {
            Node::Table(table) => search(table, offset, names, found),
            Node::Array(array) => {
                for item in array {
                    if item.span().contains(&offset) {
                        *found = Some(display(names));
                    }
                    if let Some(table) = item.get_ref().as_table() {
                        search(table, offset, names, found);
                    }
                }
            }
            Node::Leaf => (),
        }
        names.pop();
    }
}

/// Writes a way as people write it: `[listen] socket`, `[[client]] allow.users`, each with a colon.
fn display(names: &[Name]) -> String {
    let tables = names.iter().take_while(|name| name.kind == Kind::Table).count();
    let (header, list) = match names.get(tables) {
        Some(name) if name.kind == Kind::Tables => (tables + 1, true),
        _ => (tables, false),
    };
    let join = |names: &[Name]| names.iter().map(|name| name.key.as_str()).collect::<Vec<_>>().join(".");
    let (header, rest) = names.split_at_checked(header).unwrap_or((names, &[]));
    let (header, rest) = (join(header), join(rest));
    let header = match (header.as_str(), list) {
        ("", _) => String::new(),
        (_, true) => format!("[[{header}]]"),
        (_, false) => format!("[{header}]"),
    };
    match (header.as_str(), rest.as_str()) {
        ("", "") => String::new(),
        ("", rest) => format!("{rest}: "),
        (header, "") => format!("{header}: "),
        (header, rest) => format!("{header} {rest}: "),
    }
}

/// Says what serde says of unknown and missing keys in the words of this file; anything else stays as it is.
fn in_our_words(message: &str) -> String {
    let message = message.trim();
    if let Some((name, known)) = unknown(message, "unknown field `") {
        return format!("there is no key \"{name}\" here; allowed: {}", known.replace('"', ""));
    }
    if let Some((value, known)) = unknown(message, "unknown variant `") {
        return format!("\"{value}\" is not known; allowed: {known}");
    }
    match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(name) => format!("needs a key \"{name}\""),
        None => message.lines().collect::<Vec<_>>().join(" "),
    }
}

fn unknown<'a>(message: &'a str, start: &str) -> Option<(&'a str, String)> {
    let (value, known) = message.strip_prefix(start)?.split_once("`, expected ")?;
    let known = known.strip_prefix("one of ").unwrap_or(known).replace("` or `", "`, `").replace('`', "\"");
    Some((value, known))
}
