//! Which names some framework may take for the one that is looked for.
//!
//! Rack and qs (Express) drop brackets before a name, PHP and qs what follows the last bracket (qs takes dots for brackets where asked to), and PHP white space; PHP makes an underscore
//! of dots and blanks; ASP.NET takes what follows its parameter's name and a dot, and goes on behind a bracket where it was (`model[ema]il`); Go and ASP.NET take
//! letters in any case, C a NUL for the end. And what is still percent-encoded, some decode once more.

use crate::address::decoded_once_more;

/// Whether some framework may take the field `name` for `field`. The name itself is one of those.
pub(super) fn is_lookalike(name: &str, field: &str) -> bool {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_plain(name) && is_plain(field) {
        return name.eq_ignore_ascii_case(field);
    }
    if let Some(decoded) = decoded_once_more(name) {
        return is_lookalike(&decoded, field);
    }
    let field = skeleton(field);
    is_part_alike(name, &field) || (name.contains(']') && is_part_alike(&name.replace("[]", "").replace(']', ""), &field))
}

/// Whether a part of `name` that a framework may take by itself has the skeleton `field`.
fn is_part_alike(name: &str, field: &str) -> bool {
    let starts = std::iter::once(0).chain(name.match_indices(['.', '[']).map(|(at, _)| at + 1));
    starts.filter_map(|start| name.get(start..)).any(|rest| {
        let ends = rest.match_indices(['[', ']', '.']).map(|(at, _)| at).chain([rest.len()]);
        ends.filter_map(|end| rest.get(..end)).any(|part| skeleton(part) == field)
    })
}

/// `name` in folded case, without what is taken away around it or what follows a NUL, and with all that parts words alike.
fn skeleton(name: &str) -> String {
    let is_around = |c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '[' | ']' | '!' | '+');
    let name = name.split('\0').next().unwrap_or_default().trim_matches(is_around);
    let mut unified = String::with_capacity(name.len());
    // Upper case first: it makes one of dotless i and i, of long s and s.
    for c in name.to_uppercase().to_lowercase().chars().filter(|c| !matches!(c, '\'' | '"')) {
        let c = if c.is_whitespace() || matches!(c, '[' | ']' | '.' | '+') { '_' } else { c };
        if c != '_' || !unified.ends_with('_') {
            unified.push(c);
        }
    }
    unified.truncate(unified.trim_end_matches('_').len());
    unified
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_known_in_its_disguises_and_others_are_left_alone() {
        for name in [
            "email",
            "Email",
            "email[]",
            "[email]",
            "[[email",
            "email[x][y]",
            "!email",
            "model.email",
            "model[email]",
            "email\0x",
            " email",
            "emaıl",
            "'email'",
            "model[ema]il",
            "ema[]il",
            "email.x",
            "%65mail",
            "%2565mail",
            "%u0065mail",
        ] {
            assert!(is_lookalike(name, "email"), "{name:?}");
        }
        for name in
            ["user[email]x", "user[ email]", "user[[email]", "[user][email]", "user]email", "user.email", "user_email", "x.user.email"]
        {
            assert!(is_lookalike(name, "user[email]"), "{name:?}");
        }
        for name in ["email_confirmed", "e-mail", "mail", "email2", "emails", "csrf.token", "user[name]", "x[y]", ""] {
            assert!(!is_lookalike(name, "email"), "{name:?}");
            assert!(!is_lookalike(name, "user[email]"), "{name:?}");
        }
    }

    /// Where a raw name ends up, by the rules of Rack 2.
    fn rack(name: &str) -> Option<Vec<String>> {
        let stripped = name.trim_start_matches(['[', ']']);
        let end = stripped.find(['[', ']']).unwrap_or(stripped.len());
        let (key, after) = stripped.split_at(end);
        let mut path = vec![key.to_owned()];
        match after.trim_start_matches(']') {
            _ if key.is_empty() => return None,
            "" => {}
            "[" => path = vec![name.to_owned()],
            after if after.starts_with("[]") => path.push("[]".to_owned()),
            after => path.extend(rack(after)?),
        }
        Some(path)
    }

    /// By the rules of PHP.
    fn php(name: &str) -> Option<Vec<String>> {
        let name = name.split('\0').next().unwrap_or_default().trim_start_matches(' ');
        let (key, mut rest) = name.split_at(name.find('[').unwrap_or(name.len()));
        let underscored = |text: &str| text.replace(['.', ' ', '['], "_");
        let mut path = vec![underscored(key)];
        while let Some(inner) = rest.strip_prefix('[').map(|rest| rest.trim_start_matches([' ', '\t', '\r', '\n'])) {
            match inner.split_once(']') {
                Some((token, after)) => {
                    path.push(token.to_owned());
                    rest = after;
                }
                None if path.len() == 1 => return Some(vec![underscored(name)]),
                None => break,
            }
        }
        (!key.is_empty()).then_some(path)
    }

    /// By the rules of qs: a token is what stands in brackets that hold no other.
    fn qs(name: &str) -> Option<Vec<String>> {
        let next = |text: &str| {
            text.match_indices('[').find_map(|(open, _)| {
                let close = open + 1 + text[open + 1..].find(['[', ']'])?;
                text[close..].starts_with(']').then_some((open, close))
            })
        };
        let first = next(name);
        let parent = first.map_or(name, |(open, _)| &name[..open]);
        let mut path: Vec<String> = Some(parent).filter(|parent| !parent.is_empty()).map(str::to_owned).into_iter().collect();
        let mut rest = first.map_or("", |(open, _)| &name[open..]);
        while let Some((open, close)) = next(rest) {
            path.push(rest[open + 1..close].to_owned());
            rest = &rest[close + 1..];
        }
        Some(path)
    }

    /// By the rules of ASP.NET, which drops the name of the action's parameter.
    fn asp_net(name: &str) -> Option<Vec<String>> {
        name.replace("[]", "").replace('[', ".").replace(']', "").to_lowercase().rsplit('.').next().map(|last| vec![last.to_owned()])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn what_any_parser_takes_for_the_field_is_known_as_such(
            parts in prop::collection::vec(prop::sample::select(vec!["user", "email", "ema", "il", "[", "]", ".", " ", "\t", "\0", "x", "model", "_"]), 1..7),
            is_nested in any::<bool>(),
        ) {
            let name = parts.concat();
            let (field, path): (_, &[&str]) = if is_nested { ("user[email]", &["user", "email"]) } else { ("email", &["email"]) };
            let mut parsers = vec![("Rack", rack(&name)), ("PHP", php(&name)), ("qs", qs(&name))];
            if !is_nested {
                parsers.push(("ASP.NET", asp_net(&name)));
            }
            for (parser, found) in parsers {
                prop_assert!(found.is_none_or(|found| found != path) || is_lookalike(&name, field), "{parser} takes {name:?} for {field}");
            }
        }
    }
}
