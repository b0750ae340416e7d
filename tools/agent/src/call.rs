//! A request on its way to a verb: what it names, what it brings.

use serde_json::Value;
use strongroom_records::ids::{Hash, SubjectId};
use strongroom_steward::{Custodian, Error, ErrorKind, Once, Result, parse_time};

use crate::http::{self, Request};
use crate::tokens::Token;

/// LIMIT: lines of one answer.
const PAGE_COUNT_MAX: u64 = 1000;
/// Lines of an answer where nobody says how many.
const COUNT: u64 = 100;

/// A request that may be carried out.
pub struct Call<'r> {
    /// The request.
    pub request: &'r Request,
    /// What it brings.
    pub body: &'r [u8],
    /// What stands in the places of the path.
    pub params: Vec<String>,
    /// Who asks.
    pub token: &'r Token,
}

impl Call<'_> {
    /// A place of the path.
    pub fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// The subject that the first place names.
    pub fn subject(&self) -> Result<SubjectId> {
        let bad = || invalid("a subject is named by 32 hexadecimal digits");
        SubjectId::parse(self.param(0)).ok_or_else(bad)
    }

    /// The body, as a JSON object; an empty one where there is none.
    pub fn json(&self) -> Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        let json = serde_json::from_slice::<Value>(self.body);
        json.ok().filter(Value::is_object).ok_or_else(|| invalid("the body is no JSON object"))
    }

    /// `from` and `count` of the query.
    pub fn page(&self) -> Result<(u64, u64)> {
        Ok((self.number("from", 0)?, self.number("count", COUNT)?.min(PAGE_COUNT_MAX)))
    }

    /// The same, where `from` is what the page before said is next.
    pub fn scope_page(&self) -> Result<(Option<Hash>, u64)> {
        let from = http::query(&self.request.query, "from").map(|text| Hash::parse(&text));
        let bad = || invalid("`from` is `next` of the page before");
        let from = from.map(|place| place.ok_or_else(bad)).transpose()?;
        Ok((from, self.number("count", COUNT)?))
    }

    /// Whom a file is about as well: `with` of the query, with commas between them.
    pub fn others(&self) -> Vec<String> {
        let with = http::query(&self.request.query, "with").unwrap_or_default();
        with.split(',').filter(|other| !other.is_empty()).map(str::to_owned).collect()
    }

    fn number(&self, name: &str, otherwise: u64) -> Result<u64> {
        let bad = || invalid("`from` and `count` are numbers");
        let text = http::query(&self.request.query, name);
        text.map_or(Ok(otherwise), |text| text.parse().map_err(|_| bad()))
    }

    /// What creates a subject once, by a line of the request, where it has an idempotency key.
    pub fn once(&self, custodian: &Custodian, what: &str, line: usize) -> Result<Option<Once>> {
        let Some(key) = &self.request.key else { return Ok(None) };
        let name = format!("{what}\n{line}\n{}\n{key}", self.token.hash);
        custodian.once(&name, Hash(self.request.hash(self.body))).map(Some)
    }
}

/// A text of an object.
pub fn text<'j>(json: &'j Value, name: &str) -> Result<&'j str> {
    json[name].as_str().ok_or_else(|| invalid(format!("`{name}` is missing or no text")))
}

/// Texts of an object; none where it is missing.
pub fn texts(json: &Value, name: &str) -> Result<Vec<String>> {
    let bad = || invalid(format!("`{name}` is no list of texts"));
    match &json[name] {
        Value::Null => Ok(Vec::new()),
        Value::Array(all) => {
            all.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(bad)).collect()
        }
        _ => Err(bad()),
    }
}

/// A moment of an object; none where it is missing.
pub fn moment(json: &Value, name: &str) -> Result<Option<i64>> {
    let bad = || invalid(format!("`{name}` is no date or time"));
    match &json[name] {
        Value::Null => Ok(None),
        value => value.as_str().and_then(parse_time).map(Some).ok_or_else(bad),
    }
}

/// Yes or no; no where it is missing.
pub fn flag(json: &Value, name: &str) -> Result<bool> {
    match &json[name] {
        Value::Null => Ok(false),
        value => {
            value.as_bool().ok_or_else(|| invalid(format!("`{name}` is neither true nor false")))
        }
    }
}

/// A mistake of the request.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
