use strongroom_crypto::seal;
use strongroom_crypto::secret::Secret;
use strongroom_crypto::sign::SigningKey;
use strongroom_crypto::usage::{Context, Value};
use strongroom_format::cbor;
use strongroom_format::genesis::{self, Genesis};

use super::*;
use crate::device_file;
use crate::enrolment::{self, Applicant};
use crate::error::ErrorKind;
use crate::membership::Writer;
use crate::testing::{PASSPHRASE, QUICK, Repeating, founded, organisation};

/// A genesis file after a change, signed by mallory's root key, with its own id.
fn forged(change: impl FnOnce(&mut Genesis)) -> (Vec<u8>, OrganisationId) {
    let mallory = SigningKey::from_seed(Secret::from_bytes(&[0x66; 32]));
    let file = founded(1).genesis;
    let mut record = GenesisFile::parse(&file).unwrap().record;
    record.root_key = *mallory.verifying_key().as_bytes();
    change(&mut record);
    let record = cbor::encode(&record);
    let file = genesis::build(&record, &mallory.sign(Usage::SignGenesis, &record));
    (file, OrganisationId(sha256(&record)))
}

#[test]
fn founded_organisation_verifies_and_certifies_its_device() {
    let founded = founded(1);
    let pinned = founded.keys.organisation();
    let organisation = Organisation::verify(&founded.genesis, &pinned).unwrap();
    founded.keys.check_certified(&organisation).unwrap();
    assert_eq!(organisation.devices().count(), 1);
    assert_eq!((organisation.position(), organisation.head().0), (0, pinned.0));
    assert_eq!((organisation.epoch_at(0), organisation.workspace()), (None, None));
    let signing = founded.keys.signing().verifying_key();
    assert_eq!(organisation.device(&founded.keys.device_id()), Some(signing));
    assert!(organisation.root() != signing);
}

#[test]
fn every_flipped_bit_and_cut_of_genesis_is_refused() {
    let founded = founded(1);
    let pinned = founded.keys.organisation();
    for bit in 0..founded.genesis.len() * 8 {
        let mut bad = founded.genesis.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Organisation::verify(&bad, &pinned).is_err(), "bit {bit}");
    }
    for len in 0..founded.genesis.len() {
        assert!(Organisation::verify(&founded.genesis[..len], &pinned).is_err());
    }
}

#[test]
fn genesis_of_mallory_is_refused_by_the_pin() {
    let (file, own) = forged(|_| ());
    assert!(Organisation::verify(&file, &own).is_ok());
    let error = Organisation::verify(&file, &founded(1).keys.organisation()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn device_with_another_key_is_not_certified() {
    let founded = founded(1);
    let (file, own) = forged(|_| ());
    let organisation = Organisation::verify(&file, &own).unwrap();
    assert!(founded.keys.check_certified(&organisation).is_err());
    let bob = crate::testing::founded(2);
    let organisation = Organisation::verify(&bob.genesis, &bob.keys.organisation()).unwrap();
    assert!(founded.keys.check_certified(&organisation).is_err());
}

#[test]
fn weak_device_key_or_newer_suite_is_refused() {
    let (file, own) = forged(|record| record.devices[0].signing_key = [0; 32]);
    assert_eq!(Organisation::verify(&file, &own).unwrap_err().kind(), ErrorKind::Corrupt);
    for change in [(|record| record.suite = 2) as fn(&mut Genesis), |record| record.suite_floor = 2]
    {
        let (file, own) = forged(change);
        let error = Organisation::verify(&file, &own).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn genesis_signature_for_another_usage_is_refused() {
    let root = SigningKey::from_seed(Secret::from_bytes(&[0x66; 32]));
    let (file, own) = forged(|_| ());
    let parsed = GenesisFile::parse(&file).unwrap();
    let signature = root.sign(Usage::SignRootChange, parsed.record_bytes);
    let file = genesis::build(parsed.record_bytes, &signature);
    assert!(Organisation::verify(&file, &own).is_err());
}

/// An organisation of alice's first device, with a second one, `phone`, at position 2.
struct Team {
    alice: DeviceKeys,
    phone: DeviceKeys,
    organisation: Organisation,
    log: Vec<Vec<u8>>,
    entropy: Repeating,
}

impl Team {
    fn new() -> Self {
        let founded = founded(1);
        let log = vec![founded.genesis.clone(), founded.first_epoch.clone()];
        let organisation = organisation(&founded);
        let entropy = Repeating::from_seed(77);
        let (phone, asked) = applicant(&founded.keys, &entropy);
        let mut team = Self { alice: founded.keys, phone, organisation, log, entropy };
        team.by_alice(|writer| writer.admit(&asked, "phone")).unwrap();
        team.phone.learn(&team.organisation).unwrap();
        team
    }

    fn writer<'a>(&'a self, keys: &'a DeviceKeys) -> Writer<'a> {
        Writer { keys, organisation: &self.organisation, time_ns: 5, entropy: &self.entropy }
    }

    fn by_alice(&mut self, act: impl FnOnce(&Writer<'_>) -> Result<Vec<u8>>) -> Result<()> {
        let record = act(&self.writer(&self.alice))?;
        self.take(record)?;
        self.alice.learn(&self.organisation)
    }

    fn take(&mut self, record: Vec<u8>) -> Result<()> {
        self.organisation.extend(&record)?;
        self.log.push(record);
        Ok(())
    }

    fn read(&self, count: usize) -> Organisation {
        let mut read = Organisation::verify(&self.log[0], &self.alice.organisation()).unwrap();
        let there = |seq: u64| Ok::<_, Error>(self.log[..count].get(seq as usize));
        read.follow(there).unwrap();
        read
    }
}

fn applicant(of: &DeviceKeys, entropy: &Repeating) -> (DeviceKeys, Applicant) {
    let place = (of.organisation(), of.workspace());
    let made = enrolment::request(place, PASSPHRASE, QUICK, 0, entropy).unwrap();
    let keys = device_file::unlock(&made.device_file, PASSPHRASE).unwrap();
    (keys, Applicant::verify(&made.request).unwrap())
}

fn refused<T>(result: Result<T>) -> ErrorKind {
    result.err().unwrap().kind()
}

#[test]
fn a_device_that_was_taken_in_holds_all_epochs_and_is_known_by_its_name() {
    let mut team = Team::new();
    for _ in 0..3 {
        team.by_alice(|writer| writer.rotate()).unwrap();
    }
    let (tablet, asked) = applicant(&team.alice, &team.entropy);
    team.by_alice(|writer| writer.admit(&asked, "tablet")).unwrap();
    for keys in [&team.phone, &tablet] {
        keys.learn(&team.organisation).unwrap();
        assert_eq!(keys.current_epoch().0, 4);
        for epoch in 1..=4 {
            assert!(keys.epoch_key(epoch) == team.alice.epoch_key(epoch), "epoch {epoch}");
        }
        let names: Vec<_> =
            team.organisation.devices().map(|d| team.organisation.name(&d.id(), keys)).collect();
        assert_eq!(names, ["first device", "phone", "tablet"].map(|name| Some(name.to_owned())));
    }
    let at: Vec<_> = (0..=6).map(|position| team.organisation.epoch_at(position)).collect();
    assert_eq!(at, [None, Some(1), Some(1), Some(2), Some(3), Some(4), Some(4)]);
    assert_eq!(team.organisation.epoch_at(7), None);
}

#[test]
fn a_device_that_was_not_taken_in_learns_nothing() {
    let team = Team::new();
    let (mallory, _) = applicant(&team.alice, &team.entropy);
    assert_eq!(refused(mallory.learn(&team.organisation)), ErrorKind::Denied);
    assert!(mallory.epoch_key(1).is_none());
}

#[test]
fn a_revoked_device_counts_where_it_counted_and_gets_no_later_key() {
    let mut team = Team::new();
    let phone = team.phone.device_id();
    team.by_alice(|writer| writer.revoke(&phone)).unwrap();
    assert_eq!(refused(team.phone.learn(&team.organisation)), ErrorKind::Denied);
    assert!(team.phone.epoch_key(2).is_none());
    assert!(team.organisation.share(&phone).is_none());
    assert!(team.alice.epoch_key(2).is_some());
    let counts = |at| team.organisation.author_at(&phone, at).is_some();
    assert_eq!([counts(1), counts(2), counts(3), counts(4)], [false, true, false, false]);
    assert!(team.organisation.former_or_present(&phone).is_some());
    assert_eq!(team.organisation.find(&phone).unwrap().revoked_at(), Some(3));
    // Its name can still be read by who holds the epoch before.
    assert_eq!(team.organisation.name(&phone, &team.alice).as_deref(), Some("phone"));
    // And it never comes back: neither by its old request nor by a record of its own.
    assert_eq!(refused(team.by_alice(|writer| writer.revoke(&phone))), ErrorKind::Invalid);
    let good = team.writer(&team.alice).rotate().unwrap();
    let mut record = RecordFile::parse(&good).unwrap().record;
    record.author = phone;
    let bytes = cbor::encode(&record);
    let signature = team.phone.signing().sign(Usage::SignOrganisationRecord, &bytes);
    let own = strongroom_format::organisation::build(&bytes, &signature);
    assert_eq!(refused(team.take(own)), ErrorKind::Corrupt);
}

#[test]
fn no_wrap_of_an_epoch_opens_with_the_keys_of_a_revoked_device() {
    let mut team = Team::new();
    let phone = team.phone.device_id();
    team.by_alice(|writer| writer.revoke(&phone)).unwrap();
    let RecordFile { record, .. } = RecordFile::parse(team.log.last().unwrap()).unwrap();
    let Act::RevokeDevice { rotation, .. } = record.act else { panic!("a revocation") };
    assert!(rotation.recipients.iter().all(|recipient| recipient.device != phone));
    // The link leads from the new epoch to the old one, not the other way.
    let link = rotation.back_link.unwrap();
    let history = team.phone.history_key(&CompartmentId::ORDINARY, 1).unwrap();
    let (workspace, compartment) = (rotation.workspace.0, rotation.compartment.0);
    let fields =
        [Value::Bytes(&workspace), Value::Bytes(&compartment), Value::Uint(1), Value::Uint(2)];
    let context = Context::new(Usage::EpochBackLink, &team.organisation.id().0, &fields);
    assert!(seal::open(history, &context, &link).is_err());
    for recipient in &rotation.recipients {
        let sharer = team.alice.device_id();
        for key_id in [team.alice.kem().public().id(), team.phone.kem().public().id()] {
            let fields = [
                Value::Bytes(&rotation.workspace.0),
                Value::Bytes(&rotation.compartment.0),
                Value::Uint(2),
                Value::Bytes(&recipient.device.0),
                Value::Bytes(&key_id),
                Value::Bytes(&sharer.0),
                Value::Uint(3),
            ];
            let context = Context::new(Usage::PrincipalWrap, &team.organisation.id().0, &fields);
            assert!(team.phone.kem().unwrap(&context, &recipient.wrap).is_err());
        }
    }
}

#[test]
fn every_flipped_bit_and_cut_of_a_record_is_refused_and_changes_nothing() {
    let mut team = Team::new();
    let phone = team.phone.device_id();
    team.by_alice(|writer| writer.rotate()).unwrap();
    team.by_alice(|writer| writer.revoke(&phone)).unwrap();
    for seq in 1..team.log.len() {
        let before = team.read(seq);
        let good = &team.log[seq];
        // Every bit where the fields of all records are, then some of what is wrapped.
        let bits = (0..1024.min(good.len() * 8)).chain((1024..good.len() * 8).step_by(41));
        for bit in bits {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut organisation = before.clone();
            assert!(organisation.extend(&bad).is_err(), "record {seq}, bit {bit}");
            assert_eq!(organisation.position(), before.position());
        }
        for len in (0..good.len()).step_by(17) {
            assert!(before.clone().extend(&good[..len]).is_err());
        }
        before.clone().extend(good).unwrap();
    }
}

#[test]
fn records_do_not_change_places() {
    let mut team = Team::new();
    team.by_alice(|writer| writer.rotate()).unwrap();
    team.by_alice(|_| Err(Error::invalid("nothing"))).unwrap_err();
    for (seq, record) in team.log.iter().enumerate().skip(1) {
        for count in 1..=team.log.len() {
            let taken = team.read(count).extend(record);
            assert_eq!(taken.is_ok(), seq == count, "record {seq} behind {count}");
        }
    }
    let other = founded(2);
    assert!(team.read(1).extend(&other.first_epoch).is_err(), "of another organisation");
}

/// A record of alice's, changed before she signs it.
fn altered(team: &Team, record: Vec<u8>, change: impl FnOnce(&mut Record)) -> Vec<u8> {
    let mut record = RecordFile::parse(&record).unwrap().record;
    change(&mut record);
    let bytes = cbor::encode(&record);
    let signature = team.alice.signing().sign(Usage::SignOrganisationRecord, &bytes);
    strongroom_format::organisation::build(&bytes, &signature)
}

#[test]
fn nobody_chooses_the_recipients_of_an_epoch_or_its_number() {
    let mut team = Team::new();
    let rotate = |change: fn(&mut Rotation)| {
        let good = team.writer(&team.alice).rotate().unwrap();
        altered(&team, good, |record| {
            if let Act::Rotate { rotation } = &mut record.act {
                change(rotation);
            }
        })
    };
    let all = [
        rotate(|rotation| drop(rotation.recipients.pop())),
        rotate(|rotation| rotation.recipients[0].device.0[0] = 0),
        rotate(|rotation| rotation.epoch = 3),
        rotate(|rotation| (rotation.epoch, rotation.back_link) = (1, None)),
        rotate(|rotation| rotation.workspace.0[0] ^= 1),
        rotate(|rotation| rotation.compartment.0[0] ^= 1),
    ];
    for (index, bad) in all.into_iter().enumerate() {
        assert_eq!(refused(team.take(bad)), ErrorKind::Corrupt, "{index}");
    }
    let unchanged = team.writer(&team.alice).rotate().unwrap();
    let unchanged = altered(&team, unchanged, |_| ());
    team.take(unchanged).unwrap();
}

#[test]
fn a_key_that_is_not_the_one_committed_to_is_refused_by_who_gets_it() {
    let mut team = Team::new();
    let good = team.writer(&team.alice).rotate().unwrap();
    let bad = altered(&team, good, |record| {
        if let Act::Rotate { rotation } = &mut record.act {
            rotation.key_commitment.0[0] ^= 1;
        }
    });
    team.take(bad).unwrap();
    assert_eq!(refused(team.phone.learn(&team.organisation)), ErrorKind::Corrupt);
    assert!(team.phone.epoch_key(2).is_none());
}

#[test]
fn a_device_or_its_keys_come_once_and_for_its_own_member_only() {
    let mut team = Team::new();
    let (_, asked) = applicant(&team.alice, &team.entropy);
    let admit = |change: fn(&mut Certificate, &Organisation)| {
        let good = team.writer(&team.alice).admit(&asked, "tablet").unwrap();
        let organisation = &team.organisation;
        altered(&team, good, |record| {
            if let Act::AddDevice { certificate, share } = &mut record.act {
                change(certificate, organisation);
                share.recipient.device = certificate.device;
            }
        })
    };
    let all = [
        admit(|certificate, known| certificate.device = known.devices().next().unwrap().id()),
        admit(|certificate, known| {
            certificate.signing_key = *known.devices().next().unwrap().signing().as_bytes();
        }),
        admit(|certificate, known| {
            certificate.kem_key = *known.devices().next().unwrap().kem().as_bytes();
        }),
        admit(|certificate, _| certificate.member.0[0] ^= 1),
        admit(|certificate, _| certificate.signing_key = [0; 32]),
        admit(|certificate, _| certificate.kem_key = [0xff; 1216]),
    ];
    for (index, bad) in all.into_iter().enumerate() {
        assert_eq!(refused(team.take(bad)), ErrorKind::Corrupt, "{index}");
    }
    for name in ["phone", "", " x", "a/b", "a\nb", &"n".repeat(65)] {
        let kind = team.writer(&team.alice).admit(&asked, name).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Invalid, "{name}");
    }
}

#[test]
fn no_device_removes_itself() {
    let mut team = Team::new();
    let alice = team.alice.device_id();
    assert_eq!(refused(team.by_alice(|writer| writer.revoke(&alice))), ErrorKind::Invalid);
    let phone = team.phone.device_id();
    let good = team.writer(&team.alice).revoke(&phone).unwrap();
    let bad = altered(&team, good, |record| {
        if let Act::RevokeDevice { device, rotation } = &mut record.act {
            *device = alice;
            rotation.recipients[0].device = phone;
        }
    });
    assert_eq!(refused(team.take(bad)), ErrorKind::Corrupt);
}

#[test]
fn a_consumers_device_counts_without_any_key_and_signs_no_record() {
    let mut team = Team::new();
    let (device, asked) = applicant(&team.alice, &team.entropy);
    team.by_alice(|writer| writer.admit_consumer(&asked, "job 1", "mailer")).unwrap();
    let id = device.device_id();
    device.check_certified(&team.organisation).unwrap();
    assert_eq!(refused(device.learn(&team.organisation)), ErrorKind::Denied);
    assert!(device.epoch_key(1).is_none());
    let found = team.organisation.find(&id).unwrap();
    assert!(found.is_consumer() && found.counts_at(team.organisation.position()));
    let (organisation, alice) = (&team.organisation, &team.alice);
    assert_eq!(organisation.name(&id, alice).as_deref(), Some("job 1"));
    assert_eq!(organisation.consumer(&id, alice).as_deref(), Some("mailer"));
    assert_eq!(organisation.consumer(&team.phone.device_id(), alice), None);
    // Neither its signature nor its share of an epoch counts, whoever wrote them.
    assert_eq!(organisation.device(&id), None);
    assert_eq!(organisation.former_or_present(&id), None);
    let good = team.writer(&team.alice).rotate().unwrap();
    let mut record = RecordFile::parse(&good).unwrap().record;
    record.author = id;
    let bytes = cbor::encode(&record);
    let signature = device.signing().sign(Usage::SignOrganisationRecord, &bytes);
    let own = strongroom_format::organisation::build(&bytes, &signature);
    assert_eq!(refused(team.take(own)), ErrorKind::Corrupt);
    let shared = altered(&team, good.clone(), |record| {
        if let Act::Rotate { rotation } = &mut record.act {
            let mut more = rotation.recipients[0].clone();
            more.device = id;
            rotation.recipients.push(more);
            rotation.recipients.sort_by_key(|recipient| recipient.device);
        }
    });
    assert_eq!(refused(team.take(shared)), ErrorKind::Corrupt);
    team.take(good).unwrap();
    team.alice.learn(&team.organisation).unwrap();
    team.by_alice(|writer| writer.revoke(&id)).unwrap();
    assert_eq!(refused(device.check_certified(&team.organisation)), ErrorKind::Denied);
}

#[test]
fn a_naming_of_another_epoch_is_refused() {
    let mut team = Team::new();
    let (_, asked) = applicant(&team.alice, &team.entropy);
    let good = team.writer(&team.alice).admit_consumer(&asked, "job 1", "mailer").unwrap();
    let bad = altered(&team, good, |record| {
        if let Act::AddConsumer { naming, .. } = &mut record.act {
            naming.epoch += 1;
        }
    });
    assert_eq!(refused(team.take(bad)), ErrorKind::Corrupt);
}
