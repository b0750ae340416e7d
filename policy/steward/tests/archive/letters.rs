//! Letters to the devices of consumers.

use strongroom_crypto::kem::KemKey;
use strongroom_crypto::secret::Secret;
use strongroom_format::cbor;
use strongroom_keyring::DeviceKeys;
use strongroom_records::exchange;
use strongroom_records::exchange::Need;
use strongroom_records::ids::{ClassId, SessionId, SubjectId};
use strongroom_steward::letters::{Direction, Outside, Recipient};
use strongroom_steward::{Counter, Fence, Turns, letters};
use strongroom_store::{Key, Letter};

use crate::common::World;

use super::opening::Archive;
use super::{holds, peopled};

/// Asks by hand for everybody's profile, as a consumer's device does that has a view of them.
fn borrow(world: &World, mailer: &DeviceKeys, session_key: &KemKey, people: &[SubjectId]) {
    let fence = Fence::new(|| Some(Box::new(())));
    let (services, custodians) = (world.services.clone(), vec![world.open("shop")]);
    let counter = Counter::open(services, world.stewardship(), custodians, fence, Turns::default());
    let session = SessionId([0xff; 16]);
    let time = world.services.clock.now_ns();
    let outside = Outside { session, number: 0, incarnation: 0, time };
    let ask = exchange::Ask {
        application: "shop".into(),
        activity: "newsletter".into(),
        heard: 0,
        needs: people.iter().map(|own| Need::Open(*own, ClassId::IDENTIFIABLE)).collect(),
        opened: Vec::new(),
        expects: 0,
        answer_key: *session_key.public().as_bytes(),
    };
    let roster = world.services.organisation.now();
    let to = Recipient::custodian(roster.find(&world.services.keys.device_id()).unwrap());
    let (entropy, body) = (&*world.services.entropy, cbor::encode(&ask));
    let letter = letters::write(Direction::Ask, mailer, to, &outside, &body, entropy).unwrap();
    let place = Letter { session: session.0, number: 0 };
    world.store.put_now(Key::Ask(place), letter.into());
    counter.unwrap().turn().unwrap();
}

/// What a consumer's device was lent lies in letters, which a backup keeps: with all that this device has for good, and with all
/// that the custodian's has, they open nothing.
#[test]
fn an_erased_subject_is_in_no_letter_that_was_ever_written_to_a_consumers_device() {
    let mut world = World::new(31);
    let mailer = world.consumer("mailer");
    let subjects = peopled(&mut world.create("shop"));
    let session_key = KemKey::from_seed(Secret::from_bytes(&[1; 32]));
    borrow(&world, &mailer, &session_key, &subjects);
    world.open("shop").erase(&subjects[0]).unwrap();
    let archive = Archive::of(&world);
    // The control: with what the device had in memory as long as it looked, the same search finds all that it was lent.
    let found = archive.plaintexts(&world, &archive.lent(&world, &session_key));
    let found: Vec<Vec<u8>> = found.into_iter().map(|(_, plain)| plain).collect();
    for name in ["ada", "bob", "charlie"] {
        assert!(holds(&found, &format!("{name}-canary@example.com")), "{name}");
    }
    for device in [&mailer, &*world.services.keys] {
        assert!(archive.lent(&world, device.kem()).is_empty());
    }
}
