use strongroom_format::ids::CompartmentId;

use super::*;
use crate::error::ErrorKind;
use crate::founding::FIRST_EPOCH;
use crate::testing::{PASSPHRASE, QUICK, Repeating, founded, organisation};

fn kind(result: Result<DeviceKeys>) -> ErrorKind {
    result.err().map(|error| error.kind()).unwrap()
}

fn reseal(file: &[u8], change: impl FnOnce(&mut DeviceClear)) -> Vec<u8> {
    let mut parsed = DeviceFile::parse(file).unwrap();
    change(&mut parsed.clear);
    device::build(&parsed.clear, parsed.sealed)
}

fn assert_same_keys(one: &DeviceKeys, two: &DeviceKeys) {
    assert_eq!(one.device_id(), two.device_id());
    assert_eq!(one.organisation(), two.organisation());
    assert_eq!(one.workspace(), two.workspace());
    assert_eq!(one.signing().verifying_key(), two.signing().verifying_key());
    assert!(one.journal_key() == two.journal_key());
    assert!(one.hedge_key() == two.hedge_key());
    assert!(one.epoch_key(FIRST_EPOCH) == two.epoch_key(FIRST_EPOCH));
    let ordinary = CompartmentId::ORDINARY;
    let histories = [one, two].map(|keys| keys.history_key(&ordinary, FIRST_EPOCH));
    assert!(histories[0].is_some() && histories[0] == histories[1]);
}

#[test]
fn unlocking_gives_the_keys_that_were_sealed() {
    let founded = founded(1);
    let keys = unlock(&founded.device_file, PASSPHRASE).unwrap();
    assert!(keys.epoch_key(FIRST_EPOCH).is_none(), "the file holds no key of the workspace");
    keys.learn(&organisation(&founded)).unwrap();
    assert_same_keys(&keys, &founded.keys);
    assert!(keys.epoch_key(FIRST_EPOCH + 1).is_none());
    assert_eq!(keys.current_epoch().0, FIRST_EPOCH);
    let owner = owner(&founded.device_file).unwrap();
    assert_eq!((owner.organisation, owner.device), (keys.organisation(), keys.device_id()));
}

#[test]
fn all_keys_of_a_device_differ() {
    let keys = founded(1).keys;
    let history = keys.history_key(&CompartmentId::ORDINARY, FIRST_EPOCH).unwrap();
    let all = [
        keys.journal_key().expose(),
        keys.hedge_key().expose(),
        keys.current_epoch().1.expose(),
        history.expose(),
    ];
    for (index, key) in all.iter().enumerate() {
        assert!(**key != [0; 32] && !all[..index].contains(key));
    }
}

#[test]
fn wrong_passphrase_is_locked() {
    let file = founded(1).device_file;
    for wrong in [&b"alice's passphrasf"[..], b"", b"alice's passphrase "] {
        assert_eq!(kind(unlock(&file, wrong)), ErrorKind::Locked);
    }
}

#[test]
fn every_cut_is_refused() {
    let file = founded(1).device_file;
    for len in 0..file.len() {
        assert!(unlock(&file[..len], PASSPHRASE).is_err(), "{len}");
    }
    assert!(unlock(&[&file[..], &[0]].concat(), PASSPHRASE).is_err());
}

#[test]
fn every_flipped_bit_is_refused() {
    let file = founded(1).device_file;
    for bit in 0..file.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(unlock(&bad, PASSPHRASE).is_err(), "bit {bit}");
    }
}

#[test]
fn changed_clear_part_does_not_unlock() {
    let file = founded(1).device_file;
    assert!(unlock(&reseal(&file, |_| ()), PASSPHRASE).is_ok());
    let changes: [fn(&mut DeviceClear); 4] = [
        |clear| clear.organisation.0[0] ^= 1,
        |clear| clear.device.0[0] ^= 1,
        |clear| clear.key_id[0] ^= 1,
        |clear| clear.kdf.salt[0] ^= 1,
    ];
    for change in changes {
        assert_eq!(kind(unlock(&reseal(&file, change), PASSPHRASE)), ErrorKind::Locked);
    }
}

#[test]
fn cost_outside_the_limits_is_refused_before_any_work() {
    let file = founded(1).device_file;
    let changes: [fn(&mut DeviceClear); 4] = [
        |clear| clear.kdf.memory_kib = u32::MAX,
        |clear| clear.kdf.passes = u32::MAX,
        |clear| clear.kdf.lanes = 0,
        |clear| clear.kdf.memory_kib = 128,
    ];
    for change in changes {
        assert_eq!(kind(unlock(&reseal(&file, change), PASSPHRASE)), ErrorKind::Corrupt);
    }
}

#[test]
fn newer_suite_or_kdf_is_unsupported() {
    let file = founded(1).device_file;
    let changes: [fn(&mut DeviceClear); 2] = [|clear| clear.suite = 2, |clear| clear.kdf.id = 2];
    for change in changes {
        assert_eq!(kind(unlock(&reseal(&file, change), PASSPHRASE)), ErrorKind::Unsupported);
    }
}

#[test]
fn changed_passphrase_opens_the_same_keys_and_the_old_one_does_not() {
    let founded = founded(1);
    let entropy = Repeating::from_seed(2);
    let new = change_passphrase(&founded.device_file, PASSPHRASE, b"other", QUICK, &entropy);
    let new = new.unwrap();
    let keys = unlock(&new, b"other").unwrap();
    keys.learn(&organisation(&founded)).unwrap();
    assert_same_keys(&keys, &founded.keys);
    assert_eq!(kind(unlock(&new, PASSPHRASE)), ErrorKind::Locked);
    let (old, new) =
        (DeviceFile::parse(&founded.device_file).unwrap(), DeviceFile::parse(&new).unwrap());
    assert_ne!(old.clear.kdf.salt, new.clear.kdf.salt);
    assert_ne!(old.clear.key_id, new.clear.key_id);
}

#[test]
fn changing_needs_the_old_passphrase_and_a_new_one_that_is_not_empty() {
    let file = founded(1).device_file;
    let entropy = Repeating::from_seed(2);
    let change = |old: &[u8], new: &[u8], cost| {
        change_passphrase(&file, old, new, cost, &entropy).unwrap_err().kind()
    };
    assert_eq!(change(b"wrong", b"new", QUICK), ErrorKind::Locked);
    assert_eq!(change(PASSPHRASE, b"", QUICK), ErrorKind::Invalid);
    let weak = PassphraseCost { memory_kib: 1024, passes: 1, lanes: 1 };
    assert_eq!(change(PASSPHRASE, b"new", weak), ErrorKind::Invalid);
}

#[test]
fn root_key_survives_a_change_of_passphrase() {
    let founded = founded(1);
    let entropy = Repeating::from_seed(2);
    let new = change_passphrase(&founded.device_file, PASSPHRASE, b"other", QUICK, &entropy);
    let roots = [(&founded.device_file, PASSPHRASE), (&new.unwrap(), b"other")]
        .map(|(file, passphrase)| *open(file, passphrase).unwrap().1.root_seed.unwrap().0);
    assert!(*roots[0] == *roots[1]);
}

#[test]
fn file_shows_no_key() {
    let founded = founded(1);
    let keys = &founded.keys;
    let secrets =
        [keys.journal_key().expose(), keys.hedge_key().expose(), keys.current_epoch().1.expose()];
    for secret in secrets {
        for file in [&founded.device_file, &founded.genesis] {
            assert!(!file.windows(8).any(|bytes| bytes == &secret[..8]));
        }
    }
}

#[test]
fn secrets_of_another_device_are_refused() {
    let (clear, secrets) = open(&founded(1).device_file, PASSPHRASE).unwrap();
    let clear = DeviceClear { device: DeviceId([7; 16]), ..clear };
    let key = stretch(&clear.kdf, PASSPHRASE).unwrap();
    let sealed = seal::seal(&key, &context(&clear), [1; 24], &cbor::encode(&secrets));
    assert_eq!(kind(unlock(&device::build(&clear, &sealed), PASSPHRASE)), ErrorKind::Corrupt);
}

#[test]
fn file_made_by_the_second_implementation_unlocks() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/device");
    let file = std::fs::read(root.join("device")).unwrap();
    let genesis = std::fs::read(root.join("genesis")).unwrap();
    let keys = unlock(&file, b"correct horse").unwrap();
    let mut organisation =
        crate::organisation::Organisation::verify(&genesis, &keys.organisation()).unwrap();
    keys.check_certified(&organisation).unwrap();
    organisation.extend(&std::fs::read(root.join("epoch")).unwrap()).unwrap();
    keys.learn(&organisation).unwrap();
    assert_eq!(organisation.name(&keys.device_id(), &keys).as_deref(), Some("first device"));
    assert_eq!(keys.journal_key().expose(), &[0x12; 32]);
    assert_eq!(keys.hedge_key().expose(), &[0x13; 32]);
    assert_eq!(keys.workspace().0, [0x15; 16]);
    assert_eq!(keys.epoch_key(1).unwrap().expose(), &[0x16; 32]);
    let history = keys.history_key(&CompartmentId::ORDINARY, 1).unwrap();
    assert_eq!(history.expose(), &[0x17; 32]);
}
