//! Policy sets as people handle them: proposed by one, put in force by another, kept, explained, and tried on the past.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{World, answer, by, kind, own, proposal, registered};
use strongroom_authorizer::{BESIDE, DecisionPoint, Facts, Reason, Request, Verdict};
use strongroom_authzen::Both;
use strongroom_cedar::BUILT_IN;
use strongroom_records::activity::{ActivityState, Basis};
use strongroom_records::application::PolicySet;
use strongroom_records::ids::{Hash, SubjectId};
use strongroom_records::subject::ConsentStatus;
use strongroom_steward::{Custodian, ErrorKind, PolicyLanguage, Stewardship};

fn with(policy: &str) -> String {
    format!("{BUILT_IN}\n{policy}")
}

/// No job reads data of class `owned` for marketing.
fn narrower() -> String {
    with(
        r#"@id("no-owned") forbid (principal, action, resource)
            when { resource.class == DataClass::"2" && principal.purpose == Purpose::"marketing.email" };"#,
    )
}

/// A shop with ada, who agreed to everything, and two jobs that read.
fn shop(world: &World) -> (Custodian, SubjectId) {
    let mut shop = world.create("shop");
    registered(&mut shop, "newsletter", Basis::Consent, &["identifiable", "owned"]);
    let ada = shop.create_subject(&[]).unwrap();
    for class in ["identifiable", "owned"] {
        shop.put_file(&own(ada, class), "file", b"roses").unwrap();
    }
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    (shop, ada)
}

#[test]
fn a_set_waits_for_another_device_and_is_in_force_with_its_signature() {
    let (world, theirs) = World::of_two(41);
    let mut shop = world.stewardship().create("shop", "vault:", world.custody(), 2).unwrap();
    let closed = with("@id(\"closed\") forbid (principal, action, resource);");
    let ada = shop.create_subject(&[]).unwrap();
    shop.put_file(&own(ada, "owned"), "file", b"roses").unwrap();

    let proposed = shop.propose_policies(&closed).unwrap();
    assert_eq!((proposed.version, proposed.missing), (1, 1));
    assert!(shop.read_file(&own(ada, "owned"), "file").is_ok(), "what waits decides nothing");
    assert_eq!(kind(shop.activate_policies(1, &proposed.digest)), ErrorKind::Denied);
    drop(shop);

    let mut others = Stewardship::open(theirs.clone()).unwrap();
    let mut bob = others.application("shop", world.custody()).unwrap();
    assert_eq!(bob.proposed_policies().unwrap().unwrap().text, closed);
    let standing = bob.activate_policies(1, &proposed.digest).unwrap();
    assert_eq!((standing.version, standing.digest, standing.missing), (1, proposed.digest, 0));
    assert_eq!(kind(bob.read_file(&own(ada, "owned"), "file")), ErrorKind::Denied);
    assert_eq!(bob.proposed_policies().unwrap(), None);
    assert_eq!(kind(bob.activate_policies(1, &proposed.digest)), ErrorKind::NotFound);
    let behind = bob.policy_set().unwrap().unwrap().approvals;
    let devices = [world.services.keys.device_id(), theirs.keys.device_id()];
    assert_eq!(behind.iter().map(|approval| approval.device).collect::<Vec<_>>(), devices);
    others.follow().unwrap();
    assert!(bob.verify().unwrap().findings.is_empty());
}

#[test]
fn the_second_person_signs_what_they_read_or_nothing() {
    let (world, theirs) = World::of_two(45);
    let mut shop = world.stewardship().create("shop", "vault:", world.custody(), 2).unwrap();
    let read = shop.propose_policies(&narrower()).unwrap();
    let bob = || {
        let others = Stewardship::open(theirs.clone()).unwrap();
        others.application("shop", world.custody()).unwrap()
    };
    assert_eq!(bob().proposed_policies().unwrap().unwrap().text, narrower());
    let newer = shop.propose_policies(BUILT_IN).unwrap();
    assert_eq!((read.version, newer.version), (1, 2));
    for (version, digest) in [(1, read.digest), (2, read.digest), (1, newer.digest)] {
        assert_eq!(kind(bob().activate_policies(version, &digest)), ErrorKind::NotFound);
    }
    assert_eq!(bob().policy_set().unwrap(), None);
    assert_eq!(bob().activate_policies(2, &newer.digest).unwrap().missing, 0);
    // A number that was given is not given again, and what never was in force is no part of the history.
    let mut shop = world.open("shop");
    let last = shop.propose_policies(&narrower()).unwrap();
    assert_eq!(last.version, 3);
    bob().activate_policies(3, &last.digest).unwrap();
    let versions = |set: &PolicySet| (set.version, set.previous);
    let kept: Vec<(u64, u64)> = bob().policy_history().unwrap().iter().map(versions).collect();
    assert_eq!(kept, [(2, 0), (3, 2)]);
}

#[test]
fn every_set_that_was_in_force_is_kept() {
    let world = World::new(42);
    let (mut shop, _) = shop(&world);
    assert_eq!(shop.policy_history().unwrap(), []);
    let texts = [narrower(), BUILT_IN.to_owned(), with("// read by two people")];
    for text in &texts {
        shop.propose_policies(text).unwrap();
    }
    let history = shop.policy_history().unwrap();
    let kept: Vec<(u64, &str)> =
        history.iter().map(|set| (set.version, set.text.as_str())).collect();
    assert_eq!(kept, [(1, &*texts[0]), (2, &*texts[1]), (3, &*texts[2])]);
    assert_eq!(shop.policy_set().unwrap().unwrap(), history[2]);
}

#[test]
fn a_decision_is_explained_by_the_policies_of_then() {
    let world = World::new(43);
    let (mut shop, ada) = shop(&world);
    let name = shop.scope("newsletter").unwrap()[0].0;
    let asked = by("newsletter", name, "owned");
    let allowed = shop.record_count();
    shop.read_file(&asked, "file").unwrap();
    shop.propose_policies(&narrower()).unwrap();
    assert_eq!(kind(shop.read_file(&asked, "file")), ErrorKind::Denied);
    let refused = shop.record_count() - 1;
    shop.propose_policies(BUILT_IN).unwrap();
    // What happens later changes nothing of it: not even that she is gone.
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    shop.erase(&ada).unwrap();

    let one = shop.explain(allowed).unwrap().remove(0);
    assert_eq!(
        (one.reason, one.policies, one.activity.as_deref()),
        (None, vec!["consent".into()], Some("newsletter"))
    );
    let one = shop.explain(refused).unwrap().remove(0);
    assert_eq!((one.differs(), one.reason), (false, Some(Reason::PolicyRefuses)));
    assert_eq!(one.policies, ["no-owned"]);
    assert!(shop.explain(0).unwrap().is_empty());
    assert_eq!(kind(shop.explain(10_000)), ErrorKind::NotFound);
}

/// An answer to one activity is a reason to refuse another, once a policy says so.
#[test]
fn a_policy_about_another_activitys_answer_applies_where_it_is_asked_for_and_where_it_is_tried() {
    let world = World::new(45);
    let (mut shop, ada) = shop(&world);
    registered(&mut shop, "profiling", Basis::Contract, &["owned"]);
    let name = shop.scope("profiling").unwrap()[0].0;
    let asked = by("profiling", name, "owned");
    let all = shop.activities().unwrap();
    let newsletter = all.iter().find(|one| one.name == "newsletter").unwrap().id;
    let together = with(&format!(
        r#"@id("together") forbid (principal, action, resource) when {{ !principal.own &&
            resource.subject.hasTag("{newsletter}") && resource.subject.getTag("{newsletter}").status == "withdrawn" }};"#
    ));
    let since = strongroom_host::clock::Clock::now_ns(&*world.clock);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    assert!(shop.read_file(&asked, "file").is_ok());
    let tried = shop.what_if(&together, since).unwrap();
    let last = tried.last().unwrap();
    assert_eq!((last.differs(), last.reason), (true, Some(Reason::PolicyRefuses)));

    shop.propose_policies(&together).unwrap();
    assert_eq!(kind(shop.read_file(&asked, "file")), ErrorKind::Denied);
    let one = shop.explain(shop.record_count() - 1).unwrap().remove(0);
    assert_eq!((one.reason, one.policies), (Some(Reason::PolicyRefuses), vec!["together".into()]));
    assert_eq!(shop.scope("profiling").unwrap(), []);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    assert!(shop.read_file(&asked, "file").is_ok());
}

/// What-if equals what then happens: the same requests under the new set.
#[test]
fn what_other_policies_would_change_is_told_before_and_is_so_after() {
    let world = World::new(44);
    let (mut shop, ada) = shop(&world);
    let name = shop.scope("newsletter").unwrap()[0].0;
    let classes = ["identifiable", "owned"];
    let ask = |shop: &mut Custodian| {
        classes.map(|class| shop.read_file(&by("newsletter", name, class), "file").is_ok())
    };
    assert_eq!(ask(&mut shop), [true, true]);
    world.clock.advance(std::time::Duration::from_secs(3600));
    let since = strongroom_host::clock::Clock::now_ns(&*world.clock);
    assert_eq!(ask(&mut shop), [true, true]);
    assert_eq!(kind(shop.read_file(&by("nobody", name, "owned"), "file")), ErrorKind::Denied);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Withdrawn)).unwrap();
    assert_eq!(ask(&mut shop), [false, false]);
    shop.answer(&ada, &answer("newsletter", ConsentStatus::Given)).unwrap();
    let before = shop.record_count();

    let all = shop.what_if(&narrower(), since).unwrap();
    let outcomes: Vec<(bool, Option<Reason>)> =
        all.iter().map(|one| (one.differs(), one.reason)).collect();
    assert_eq!(
        outcomes,
        [
            (false, None),
            (true, Some(Reason::PolicyRefuses)),
            (false, Some(Reason::UnknownActivity)),
            (false, Some(Reason::NotConsented)),
            (false, Some(Reason::NotConsented)),
        ]
    );
    assert_eq!(all[1].policies, ["no-owned"]);
    assert!(shop.what_if(BUILT_IN, i64::MIN).unwrap().iter().all(|one| !one.differs()));
    assert_eq!(kind(shop.what_if("this is no policy", since)), ErrorKind::Invalid);
    assert_eq!(shop.record_count(), before, "nothing is recorded");

    shop.propose_policies(&narrower()).unwrap();
    assert_eq!(ask(&mut shop), [true, false]);
    // Under the narrower set in force, the wider one would bring back what it takes.
    let all = shop.what_if(BUILT_IN, since).unwrap();
    assert_eq!(all.iter().filter(|one| one.differs()).count(), 1);
    assert!(all.last().unwrap().differs() && all.last().unwrap().reason.is_none());
}

/// Beside our own policies somebody else's decision point, which allows, refuses or is away as it is told.
struct WithPoint(Arc<Mutex<Option<bool>>>);

struct Point(Arc<Mutex<Option<bool>>>);

impl DecisionPoint for Point {
    fn digest(&self) -> Hash {
        Hash::NONE
    }

    fn evaluate(&self, _: &Request, _: &Facts) -> Verdict {
        let says = *self.0.lock().unwrap();
        let policies = vec![BESIDE.to_owned()];
        Verdict { allow: says == Some(true), policies, failed: says.is_none() }
    }
}

impl PolicyLanguage for WithPoint {
    fn built_in(&self) -> &str {
        BUILT_IN
    }

    fn read(&self, text: &str) -> strongroom_steward::Result<Arc<dyn DecisionPoint>> {
        common::CedarLanguage.read(text)
    }

    fn beside(
        &self,
        own: Arc<dyn DecisionPoint>,
        _: &str,
        _: Duration,
    ) -> strongroom_steward::Result<Arc<dyn DecisionPoint>> {
        Ok(Arc::new(Both { own, other: Arc::new(Point(Arc::clone(&self.0))) }))
    }
}

/// A decision point is not asked about the past: what it said then counts, and where it was not asked nobody can know.
#[test]
fn what_a_decision_point_refused_is_not_told_as_allowed_when_the_past_is_decided_again() {
    let mut world = World::new(46);
    let says = Arc::new(Mutex::new(Some(true)));
    world.services.language = Arc::new(WithPoint(Arc::clone(&says)));
    let (mut shop, _) = shop(&world);
    let name = shop.scope("newsletter").unwrap()[0].0;
    shop.set_point(Some("http://127.0.0.1:1")).unwrap();
    world.clock.advance(Duration::from_secs(3600));
    let since = strongroom_host::clock::Clock::now_ns(&*world.clock);
    let asked = by("newsletter", name, "owned");
    for answer in [Some(true), Some(false), None] {
        *says.lock().unwrap() = answer;
        assert_eq!(shop.read_file(&asked, "file").is_ok(), answer == Some(true));
    }
    *says.lock().unwrap() = Some(true);
    shop.propose_policies(&narrower()).unwrap();
    assert_eq!(kind(shop.read_file(&asked, "file")), ErrorKind::Denied);

    let told = |text: &str| {
        let all = shop.what_if(text, since).unwrap();
        let told = all.iter().map(|one| (one.differs(), one.is_open, one.reason));
        told.collect::<Vec<_>>()
    };
    let (refused, failed) = (Some(Reason::PolicyRefuses), Some(Reason::PolicyFailed));
    assert_eq!(
        told(BUILT_IN),
        [
            (false, false, None),
            (false, false, refused),
            (false, false, failed),
            (false, true, None)
        ]
    );
    assert_eq!(
        told(&narrower()),
        [
            (true, false, refused),
            (false, false, refused),
            (false, false, refused),
            (false, false, refused)
        ]
    );
    let all = shop.what_if(BUILT_IN, since).unwrap();
    let policies: Vec<Vec<&str>> =
        all.iter().map(|one| one.policies.iter().map(String::as_str).collect()).collect();
    assert_eq!(policies, [vec!["consent", BESIDE], vec![BESIDE], vec![BESIDE], vec!["consent"]]);
    // Decided again by the policies of then, each is the same.
    for one in all {
        let again = shop.explain(one.entry.seq).unwrap().remove(0);
        assert!(!again.differs() && !again.is_open, "{again:?}");
        assert_eq!(
            again.reason,
            one.entry.judgement.map(|was| was.reason).and_then(Reason::from_number)
        );
    }
}

/// Who suspends a job takes back what stood behind it, be it a proposal or an approval.
#[test]
fn a_suspended_activity_is_taken_up_by_as_many_devices_as_are_demanded() {
    let (world, theirs) = World::of_two(47);
    let mut shop = world.stewardship().create("shop", "vault:", world.custody(), 2).unwrap();
    shop.register_activity(proposal("newsletter", Basis::Consent, &["owned"])).unwrap();
    let others = Stewardship::open(theirs).unwrap();
    let mut bob = others.application("shop", world.custody()).unwrap();
    assert_eq!(bob.approve_activity("newsletter").unwrap(), ActivityState::Approved);
    shop.follow().unwrap();
    shop.catch_up().unwrap();
    shop.stop_activity("newsletter", ActivityState::Suspended).unwrap();
    for _ in 0..2 {
        bob.follow().unwrap();
        bob.catch_up().unwrap();
        assert_eq!(bob.approve_activity("newsletter").unwrap(), ActivityState::Suspended);
    }
    shop.follow().unwrap();
    shop.catch_up().unwrap();
    assert_eq!(shop.approve_activity("newsletter").unwrap(), ActivityState::Approved);
}
