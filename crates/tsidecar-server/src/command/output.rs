//! What a command says: text for people, or one JSON value for programs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};

use super::ask::CommandError;
use super::exit::Exit;

/// Whom the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Text.
    People,
    /// One JSON value.
    Programs,
}

impl Audience {
    /// By the flag `--json`.
    pub const fn of(json: bool) -> Self {
        if json { Self::Programs } else { Self::People }
    }
}

/// What a command answers.
#[derive(Debug)]
pub struct Output {
    /// For people; ends without a line break.
    pub text: String,
    /// For people beside it, on standard error; may be empty.
    pub notes: String,
    /// For programs.
    pub json: Value,
    /// How it ended.
    pub exit: Exit,
}

impl Output {
    /// Done.
    pub fn done(text: String, value: &impl Serialize) -> Self {
        let json = serde_json::to_value(value).unwrap_or_default();
        Self { text, notes: String::new(), json, exit: Exit::Ok }
    }

    /// Adds what people should know beside it; the text itself can then be kept in a file.
    #[must_use]
    pub fn with_notes(self, notes: String) -> Self {
        Self { notes, ..self }
    }
}

/// Prints what came out of a command, errors to standard error, and gives the exit code.
pub fn print(audience: Audience, result: Result<Output, CommandError>) -> ExitCode {
    match result {
        Ok(output) => {
            let text = match audience {
                Audience::People => output.text,
                Audience::Programs => format!("{:#}", output.json),
            };
            // Nobody reads on: a closed pipe is no failure of the command.
            let _ = writeln!(std::io::stdout(), "{text}");
            if audience == Audience::People && !output.notes.is_empty() {
                let _ = writeln!(std::io::stderr(), "{}", output.notes);
            }
            output.exit.into()
        }
        Err(error) => {
            match audience {
                Audience::People => eprintln!("tsidecar: {error}"),
                Audience::Programs => {
                    let value = json!({ "error": error.code(), "error_description": error.to_string() });
                    eprintln!("{value:#}");
                }
            }
            error.exit().into()
        }
    }
}

/// Text in columns, each as wide as its widest cell. What came from outside is printed without control characters.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{:width$}  ", plain(cell));
        }
        text.push_str(line.trim_end());
    }
    text
}

/// A number of things: `1 client`, `2 clients`.
pub fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Text without control characters: a display name must not move the cursor of an administrator.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = columns(&[row(["ID", "NAME", "X"]), row(["grafana", "Ä\u{1b}[31m", ""])]);
        assert_eq!(text, "ID       NAME    X\ngrafana  Ä\u{fffd}[31m");
    }
}
