//! A store that lies: old, other, damaged and missing answers, histories that fork and go back, races that both win, commits
//! of devices that were removed. Whatever it does, a device shows what a device wrote there, nothing older than it has
//! seen, or an error that says so; and once the store is honest again, what was synced is there.
#![allow(clippy::unwrap_used, missing_docs)]

use strongroom_tests::harness::seeds::{amount, repeat, seeds, trace};
use strongroom_tests::hostile::story::{Plan, live, tuning};
use strongroom_workspace::Tuning;
use strongroom_workspace::limits::Broken;

#[test]
fn whatever_the_store_does_a_device_shows_the_truth_or_an_error_and_loses_nothing() {
    for seed in seeds(1, amount(300, 100_000)) {
        let plan = Plan::of(seed);
        if let Err(what) = live(seed, plan, &tuning()) {
            let test =
                "whatever_the_store_does_a_device_shows_the_truth_or_an_error_and_loses_nothing";
            panic!("seed {seed}, {plan:?}: {what}\n{}", repeat("hostile", test, seed));
        }
    }
}

#[test]
fn devices_that_leave_out_a_check_are_caught() {
    let mut escaped = Vec::new();
    for (broken, plan) in [
        (Broken::HeadNotRemembered, Plan::GoingBack),
        (Broken::MarksNotCompared, Plan::Forking),
        (Broken::ParentNotCompared, Plan::Forking),
        (Broken::SignatureNotVerified, Plan::Forging),
        (Broken::PinsMayGoDown, Plan::Reviving),
        (Broken::OrganisationNotRemembered, Plan::Forgetting),
        (Broken::OrganisationNotFollowed, Plan::Forgetting),
        (Broken::OwnCommitByNumber, Plan::HidingOwn),
        (Broken::PutBelieved, Plan::Racing),
        (Broken::PageHashNotCompared, Plan::Reading),
    ] {
        let tuning = Tuning { broken: Some(broken), ..tuning() };
        let caught = (1..=200).find_map(|seed| Some((seed, live(seed, plan, &tuning).err()?)));
        trace(|| format!("{broken:?}: {caught:?}"));
        if caught.is_none() {
            escaped.push(broken);
        }
    }
    assert_eq!(escaped, []);
}
