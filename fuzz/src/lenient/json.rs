//! JSON, as the laxest parsers take it: with byte order mark, comments, single quotes, names without quotes, commas at the end, and anything behind it.

use super::{Value, decoded, form};

/// What every habit finds for the member of this path. Arrays count as each of their elements.
pub(super) fn named(body: &[u8], path: &[&str], charset: Option<&str>) -> Vec<Value> {
    let text = decoded(body, charset);
    let mut parser =
        Parser { rest: text.trim_start_matches('\u{feff}').chars().filter(|c| *c != '\0').collect(), at: 0, leaves: Vec::new() };
    parser.value(&mut Vec::new(), 0);
    let mut values = Vec::new();
    for (names, text) in parser.leaves {
        // Go, .NET and Jackson take names in any case; lodash and Laravel take `user.email` for a path.
        let folded = |text: &String| text.to_uppercase().to_lowercase().trim().to_owned();
        let folded: Vec<String> = names.iter().map(folded).collect();
        let joined = folded.join(".");
        let is_at = form::is_at(&folded, path)
            || form::names(&joined).iter().any(|(parser, found)| *parser == "qs with dots" && form::is_at(found, path));
        if is_at {
            values.push(Value::new("lax JSON", text));
        }
    }
    values
}

struct Parser {
    rest: Vec<char>,
    at: usize,
    /// Every string, number and word, with the names above it.
    leaves: Vec<(Vec<String>, String)>,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn skip(&mut self) {
        while let Some(c) = self.peek() {
            match (c, self.rest.get(self.at + 1)) {
                ('/', Some('*')) => {
                    while self.at < self.rest.len() && !self.rest[self.at..].starts_with(&['*', '/']) {
                        self.at += 1;
                    }
                    self.at += 2;
                }
                ('/', Some('/')) | ('#', _) => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                (c, _) if c.is_whitespace() || matches!(c, ',' | '\u{feff}') => self.at += 1,
                _ => return,
            }
        }
    }

    fn value(&mut self, names: &mut Vec<String>, depth: usize) {
        self.skip();
        match self.peek() {
            Some(open @ ('{' | '[')) if depth < 64 => {
                self.at += 1;
                self.members(names, open == '{', depth);
            }
            Some(_) => {
                let text = self.scalar();
                self.leaves.push((names.clone(), text));
            }
            None => {}
        }
    }

    fn members(&mut self, names: &mut Vec<String>, is_object: bool, depth: usize) {
        loop {
            self.skip();
            let before = self.at;
            match self.peek() {
                None => return,
                Some('}' | ']') => {
                    self.at += 1;
                    return;
                }
                Some(_) if is_object => {
                    let name = self.scalar();
                    self.skip();
                    self.at += usize::from(self.peek() == Some(':'));
                    names.push(name);
                    self.value(names, depth + 1);
                    names.pop();
                }
                Some(_) => self.value(names, depth + 1),
            }
            // What is no JSON at all must not hold us up.
            self.at += usize::from(self.at == before);
        }
    }

    fn scalar(&mut self) -> String {
        let mut text = String::new();
        match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.at += 1;
                while let Some(c) = self.peek() {
                    self.at += 1;
                    match c {
                        c if c == quote => break,
                        '\\' => self.escape(&mut text),
                        c => text.push(c),
                    }
                }
            }
            _ => {
                while let Some(c) =
                    self.peek().filter(|c| !c.is_whitespace() && !matches!(c, ',' | ':' | '{' | '}' | '[' | ']' | '"' | '\''))
                {
                    self.at += 1;
                    text.push(c);
                }
            }
        }
        text
    }

    fn escape(&mut self, text: &mut String) {
        let Some(c) = self.peek() else { return };
        self.at += 1;
        let digits: String = self.rest[self.at..].iter().take(4).collect();
        match (c, u32::from_str_radix(&digits, 16)) {
            ('u', Ok(code)) if digits.len() == 4 => {
                self.at += 4;
                // Half of a pair is dropped.
                text.extend(char::from_u32(code));
            }
            ('n', _) => text.push('\n'),
            ('r', _) => text.push('\r'),
            ('t', _) => text.push('\t'),
            (c, _) => text.push(c),
        }
    }
}
