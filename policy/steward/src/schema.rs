//! What a profile must look like: the application registers it as JSON, and every profile is held against it.
//!
//! ```text
//! { "email": {"type": "email", "required": true, "lookup": true}, "birthday": {"type": "date"}, "name": {"type": "text"} }
//! ```
//!
//! Types: `text` `email` `date` `number` `boolean`, or `list` of texts. Fields that the schema does not name are refused.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::directory::check_name;
use crate::error::{Error, Result};

/// LIMIT: bytes of a schema.
const SCHEMA_LEN_MAX: usize = 256 << 10;
/// LIMIT: characters of a field where the schema says nothing.
const FIELD_LEN_MAX: u64 = 10_000;

/// A registered schema; the empty one takes any JSON object.
#[derive(Default)]
pub(crate) struct Schema(BTreeMap<String, Rule>);

struct Rule {
    kind: Kind,
    required: bool,
    lookup: bool,
    len_max: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Email,
    Date,
    Number,
    Boolean,
    List,
}

impl Schema {
    /// One that is to be registered.
    pub fn parse_new(text: &str) -> Result<Self> {
        let schema = Self::parse(text)?;
        let is_looked_up = |kind| matches!(kind, Kind::Text | Kind::Email | Kind::Date);
        if schema.0.values().any(|rule| rule.lookup && !is_looked_up(rule.kind)) {
            return Err(Error::invalid("`lookup` is for fields of type text, email or date"));
        }
        Ok(schema)
    }

    /// One that is registered.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid("the schema is not a JSON object of fields");
        if text.len() > SCHEMA_LEN_MAX {
            return Err(Error::invalid("the schema is larger than 256 KiB"));
        }
        let json: Value = serde_json::from_str(text).map_err(|_| bad())?;
        let fields = json.as_object().filter(|fields| !fields.is_empty()).ok_or_else(bad)?;
        let mut rules = BTreeMap::new();
        for (name, rule) in fields {
            check_name(name)?;
            rules.insert(name.clone(), Rule::parse(rule)?);
        }
        Ok(Self(rules))
    }

    /// Holds a profile against the schema. The refusal names a field of the schema, never a value.
    pub fn check(&self, profile: &Value) -> Result<()> {
        let fields =
            profile.as_object().ok_or_else(|| Error::invalid("a profile is a JSON object"))?;
        if self.0.is_empty() {
            return Ok(());
        }
        if fields.keys().any(|name| !self.0.contains_key(name)) {
            return Err(Error::invalid("the profile has a field that the schema does not name"));
        }
        for (name, rule) in &self.0 {
            match fields.get(name) {
                Some(value) if rule.fits(value) => {}
                Some(_) => {
                    let message = format!("the profile's `{name}` is not what the schema says");
                    return Err(Error::invalid(message));
                }
                None if rule.required => {
                    return Err(Error::invalid(format!("the profile has no `{name}`")));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Fields of a profile that it can be looked up by.
    pub fn lookups(&self, profile: &Value) -> Vec<(String, String)> {
        let field = |(name, rule): (&String, &Rule)| {
            let value = profile.get(name)?.as_str()?;
            rule.lookup.then(|| (name.clone(), value.to_owned()))
        };
        self.0.iter().filter_map(field).collect()
    }
}

impl Rule {
    fn parse(json: &Value) -> Result<Self> {
        let bad =
            || Error::invalid("a field of the schema has `type`, `required`, `lookup`, `max`");
        let fields = json.as_object().ok_or_else(bad)?;
        let known = ["type", "required", "lookup", "max"];
        if fields.keys().any(|name| !known.contains(&name.as_str())) {
            return Err(bad());
        }
        let kind = match fields.get("type").and_then(Value::as_str) {
            Some("text") => Kind::Text,
            Some("email") => Kind::Email,
            Some("date") => Kind::Date,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Boolean,
            Some("list") => Kind::List,
            _ => return Err(bad()),
        };
        let flag = |name: &str| match fields.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(bad),
        };
        let len_max = match fields.get("max") {
            None => FIELD_LEN_MAX,
            Some(value) => value.as_u64().ok_or_else(bad)?,
        };
        Ok(Self { kind, required: flag("required")?, lookup: flag("lookup")?, len_max })
    }

    fn fits(&self, value: &Value) -> bool {
        let is_short = |text: &str| text.chars().count() as u64 <= self.len_max;
        match self.kind {
            Kind::Text => value.as_str().is_some_and(is_short),
            Kind::Email => value.as_str().is_some_and(|text| is_short(text) && is_email(text)),
            Kind::Date => value.as_str().is_some_and(is_date),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
            Kind::List => value.as_array().is_some_and(|items| {
                items.len() as u64 <= self.len_max
                    && items.iter().all(|item| item.as_str().is_some_and(is_short))
            }),
        }
    }
}

/// One `@`, something on both sides, no spaces: everything else is the mail server's judgement.
fn is_email(text: &str) -> bool {
    let Some((user, host)) = text.split_once('@') else { return false };
    !user.is_empty()
        && !host.is_empty()
        && !host.contains('@')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// `YYYY-MM-DD`, a day that its month can have.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let number = |part: &str, len: usize| {
        let is_digits = part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit());
        is_digits.then(|| part.parse::<u32>().ok()).flatten()
    };
    let Some(((year, month), day)) = number(year, 4).zip(number(month, 2)).zip(number(day, 2))
    else {
        return false;
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=last).contains(&day)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"{"email": {"type": "email", "required": true, "lookup": true},
        "birthday": {"type": "date"}, "name": {"type": "text", "max": 5}, "tags": {"type": "list"},
        "age": {"type": "number"}, "news": {"type": "boolean"}}"#;

    #[test]
    fn profiles_are_held_against_the_schema() {
        let schema = Schema::parse(TEXT).unwrap();
        for good in [
            json!({"email": "ada@example.com"}),
            json!({"email": "a@b", "birthday": "2000-02-29", "name": "Ada", "tags": ["x"], "age": 3,
                "news": true}),
        ] {
            assert!(schema.check(&good).is_ok(), "{good}");
        }
        for bad in [
            json!([]),
            json!({}),
            json!({"email": 3}),
            json!({"email": "ada"}),
            json!({"email": "a@b", "birthday": "2001-02-29"}),
            json!({"email": "a@b", "name": "too long"}),
            json!({"email": "a@b", "tags": [1]}),
            json!({"email": "a@b", "other": 1}),
        ] {
            assert!(schema.check(&bad).is_err(), "{bad}");
        }
        let found = schema.lookups(&json!({"email": "a@b", "name": "Ada"}));
        assert_eq!(found, [("email".to_owned(), "a@b".to_owned())]);
    }

    #[test]
    fn a_refusal_tells_no_value() {
        let schema = Schema::parse(TEXT).unwrap();
        let refused = schema.check(&json!({"email": "canary canary"})).unwrap_err();
        assert!(!refused.to_string().contains("canary"));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for bad in ["", "[]", "{}", r#"{"a": 1}"#, r#"{"a": {"type": "blob"}}"#, r#"{"a": {}}"#] {
            assert!(Schema::parse(bad).is_err(), "{bad}");
        }
        assert!(Schema::default().check(&json!({"anything": 1})).is_ok());
    }
}
