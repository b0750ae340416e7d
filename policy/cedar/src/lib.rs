//! Cedar as a decision point: the one crate that knows the policy language.
//!
//! A set is accepted only if it passes strict validation and reads no further than two hops from the request, which is
//! what the slice of entities reaches. Every evaluation gets a slice of its own, built with the schema. An error in any
//! policy is a failure of the whole evaluation: Cedar itself would skip a `forbid` that errs, and allow.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod slice;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use cedar_policy::{Authorizer, Decision, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use serde_json::Value;
use strongroom_authorizer::{DecisionPoint, Facts, Request, Verdict};
use strongroom_crypto::hash::Sha256;
use strongroom_records::ids::Hash;

/// The policies in force where nobody loaded others.
pub const BUILT_IN: &str = include_str!("policies.cedar");
/// What policies can speak of.
pub const SCHEMA: &str = include_str!("schema.cedarschema");
/// Hops from the request that a policy may follow.
const LEVEL: u32 = 2;
/// LIMIT: policies of a set.
const POLICY_COUNT_MAX: usize = 10_000;

/// Why a policy set is refused; says which policy and why. Policies hold no personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// A validated policy set.
pub struct Cedar {
    policies: PolicySet,
    schema: Schema,
    digest: Hash,
    /// Whether some policy speaks of answers to other activities than the one that asks.
    reads_others: bool,
}

impl Cedar {
    /// Reads and validates a set.
    ///
    /// # Errors
    /// [`Refused`], with the first thing that is wrong.
    pub fn read(text: &str) -> Result<Self, Refused> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|error| Refused(format!("the schema does not parse: {error}")))?;
        let policies = PolicySet::from_str(text)
            .map_err(|error| Refused(format!("the policies do not parse: {error}")))?;
        if policies.num_of_policies() > POLICY_COUNT_MAX || policies.num_of_templates() > 0 {
            return Err(Refused("a set has 10,000 policies at most, and no templates".to_owned()));
        }
        let validator = Validator::new(schema.clone());
        let strict = validator.validate(&policies, ValidationMode::Strict);
        if let Some(error) = strict.validation_errors().next() {
            return Err(Refused(format!("the policies do not validate: {error}")));
        }
        let level = validator.validate_with_level(&policies, ValidationMode::Strict, LEVEL);
        if let Some(error) = level.validation_errors().next() {
            return Err(Refused(format!("the policies look too far: {error}")));
        }
        let reads_others = policies.policies().any(|policy| {
            let json = policy.to_json();
            json.is_err() || json.is_ok_and(|json| reads_others(&json))
        });
        let digest = Hash(
            Sha256::new().update(SCHEMA.as_bytes()).update(&[0]).update(text.as_bytes()).finish(),
        );
        Ok(Self { policies, schema, digest, reads_others })
    }

    /// Ids of the policies: their `@id`, or Cedar's own.
    pub fn ids(&self) -> Vec<String> {
        self.policies.policies().map(|policy| self.shown(policy.id())).collect()
    }

    fn shown(&self, id: &PolicyId) -> String {
        self.policies.annotation(id, "id").map_or_else(|| id.to_string(), str::to_owned)
    }

    fn answer(&self, request: &Request, facts: &Facts) -> Option<Verdict> {
        let asked = slice::request(request, facts, &self.schema)?;
        let others = if self.reads_others { &facts.others[..] } else { &[] };
        let entities = slice::entities(request, facts, others, &self.schema)?;
        let response = Authorizer::new().is_authorized(&asked, &self.policies, &entities);
        let diagnostics = response.diagnostics();
        let mut policies: Vec<String> = diagnostics.reason().map(|id| self.shown(id)).collect();
        policies.sort();
        Some(Verdict {
            allow: response.decision() == Decision::Allow,
            policies,
            failed: diagnostics.errors().next().is_some(),
        })
    }
}

/// Whether an expression asks for a tag under another key than that of the activity that asks.
fn reads_others(json: &Value) -> bool {
    let is_other = |(name, json): (&String, &Value)| {
        let right = &json["right"]["."];
        let is_own = right["left"]["Var"] == "principal" && right["attr"] == "key";
        matches!(&**name, "hasTag" | "getTag") && !is_own
    };
    match json {
        Value::Object(fields) => fields.iter().any(is_other) || fields.values().any(reads_others),
        Value::Array(all) => all.iter().any(reads_others),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl DecisionPoint for Cedar {
    fn digest(&self) -> Hash {
        self.digest
    }

    fn evaluate(&self, request: &Request, facts: &Facts) -> Verdict {
        let failed = Verdict { allow: false, policies: Vec::new(), failed: true };
        self.answer(request, facts).unwrap_or(failed)
    }
}
