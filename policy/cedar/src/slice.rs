//! The entities of one request: all that two hops from it can reach, with every ancestor.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request as Asked,
    RestrictedExpression as Value, Schema,
};
use strongroom_authorizer::{Facts, Request};
use strongroom_records::activity::{Activity, ActivityState, Reach};
use strongroom_records::ids::{ActivityId, ClassId};
use strongroom_records::subject::{Consent, SubjectState};

/// The request in Cedar's words; none if there is nobody to ask for.
pub(crate) fn request(request: &Request, facts: &Facts, schema: &Schema) -> Option<Asked> {
    let activity = facts.activity.as_ref()?;
    let purpose = request.purpose.as_deref().unwrap_or(&activity.purpose);
    let context = [
        ("now".to_owned(), Value::new_long(request.now)),
        ("operator".to_owned(), reference("Device", &request.operator.to_string())?),
        ("purpose".to_owned(), reference("Purpose", purpose)?),
    ];
    let action = uid("Action", request.action.name())?;
    let context = Context::from_pairs(context).ok()?;
    let principal = uid("Activity", &request.activity.to_string())?;
    Asked::new(principal, action, uid("Compartment", &compartment(request))?, context, Some(schema))
        .ok()
}

/// The entities it needs, with the subject's answers to `others` where policies speak of them.
pub(crate) fn entities(
    request: &Request,
    facts: &Facts,
    others: &[Consent],
    schema: &Schema,
) -> Option<Entities> {
    let answers: Vec<&Consent> = facts.consent.iter().chain(others).collect();
    let activity = facts.activity.as_ref()?;
    let mut all = vec![
        entity(
            "Application",
            &request.application.to_string(),
            [flag("active", facts.application_active)],
        )?,
        entity("Consumer", &activity.consumer, [])?,
        entity(
            "Device",
            &request.operator.to_string(),
            [flag("certified", facts.operator_certified)],
        )?,
        entity(
            "Compartment",
            &compartment(request),
            [
                attribute(
                    "application",
                    reference("Application", &request.application.to_string())?,
                ),
                attribute("subject", reference("Subject", &request.subject.to_string())?),
                attribute("class", class(request.class)?),
            ],
        )?,
        acting(activity)?,
        subject(request, facts, &answers)?,
    ];
    for own in classes(request, &answers, activity) {
        let is_special = own == request.class && facts.is_special;
        all.push(entity("DataClass", &own.0.to_string(), [flag("special", is_special)])?);
    }
    let asked = request.purpose.as_deref().unwrap_or(&activity.purpose);
    all.extend(purposes([asked, &activity.purpose])?);
    Entities::from_entities(all, Some(schema)).ok()
}

fn acting(activity: &Activity) -> Option<Entity> {
    let mut attributes = vec![
        attribute("key", Value::new_string(activity.id.to_string())),
        attribute("consumer", reference("Consumer", &activity.consumer)?),
        attribute("purpose", reference("Purpose", &activity.purpose)?),
        attribute("basis", Value::new_string(activity.basis.name().to_owned())),
        attribute("classes", set(&activity.classes)?),
        flag("writes", activity.reach == Reach::Write),
        attribute("state", Value::new_string(state(activity.state).to_owned())),
        flag("own", activity.id == ActivityId::OWN),
    ];
    attributes.extend(activity.expires.map(|end| attribute("expires", Value::new_long(end))));
    entity("Activity", &activity.id.to_string(), attributes)
}

fn subject(request: &Request, facts: &Facts, answers: &[&Consent]) -> Option<Entity> {
    let state = match facts.subject? {
        SubjectState::Active => "active",
        SubjectState::Restricted => "restricted",
        SubjectState::Erasing => "erasing",
        SubjectState::Erased => "erased",
    };
    let attributes = HashMap::from([attribute("state", Value::new_string(state.to_owned()))]);
    let mut tags = Vec::new();
    for consent in answers {
        tags.push((consent.activity.to_string(), answer(consent)?));
    }
    let uid = uid("Subject", &request.subject.to_string())?;
    Entity::new_with_tags(uid, attributes, HashSet::new(), tags).ok()
}

fn answer(consent: &Consent) -> Option<Value> {
    let mut fields = vec![
        attribute("status", Value::new_string(consent.status.name().to_owned())),
        flag("explicit", consent.explicit),
        attribute("classes", set(&consent.classes)?),
    ];
    fields.extend(consent.until.map(|end| attribute("until", Value::new_long(end))));
    Value::new_record(fields).ok()
}

/// Purposes with all that is above them: a missing ancestor would make `in` silently false.
fn purposes<'p>(named: impl IntoIterator<Item = &'p str>) -> Option<Vec<Entity>> {
    let mut known = HashSet::new();
    let mut all = Vec::new();
    for name in named {
        let mut name = name;
        while known.insert(name.to_owned()) {
            let above = name.rsplit_once('.').map(|(above, _)| above);
            let parents = match above {
                Some(above) => HashSet::from([uid("Purpose", above)?]),
                None => HashSet::new(),
            };
            all.push(Entity::new(uid("Purpose", name)?, HashMap::new(), parents).ok()?);
            let Some(above) = above else { break };
            name = above;
        }
    }
    Some(all)
}

fn classes(request: &Request, answers: &[&Consent], activity: &Activity) -> HashSet<ClassId> {
    let consented = answers.iter().flat_map(|consent| consent.classes.iter().copied());
    activity.classes.iter().copied().chain(consented).chain([request.class]).collect()
}

fn compartment(request: &Request) -> String {
    format!("{}/{}", request.subject, request.class.0)
}

fn class(class: ClassId) -> Option<Value> {
    reference("DataClass", &class.0.to_string())
}

fn set(classes: &[ClassId]) -> Option<Value> {
    let each: Option<Vec<Value>> = classes.iter().map(|own| class(*own)).collect();
    Some(Value::new_set(each?))
}

fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    let kind = EntityTypeName::from_str(kind).ok()?;
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn reference(kind: &str, id: &str) -> Option<Value> {
    uid(kind, id).map(Value::new_entity_uid)
}

fn entity(
    kind: &str,
    id: &str,
    attributes: impl IntoIterator<Item = (String, Value)>,
) -> Option<Entity> {
    Entity::new(uid(kind, id)?, attributes.into_iter().collect(), HashSet::new()).ok()
}

fn attribute(name: &str, value: Value) -> (String, Value) {
    (name.to_owned(), value)
}

fn flag(name: &str, value: bool) -> (String, Value) {
    (name.to_owned(), Value::new_bool(value))
}

fn state(state: ActivityState) -> &'static str {
    match state {
        ActivityState::Proposed => "proposed",
        ActivityState::Approved => "approved",
        ActivityState::Suspended => "suspended",
        ActivityState::Ended => "ended",
    }
}
