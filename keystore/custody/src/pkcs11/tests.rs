use std::fs;

use cryptoki::object::{Attribute, AttributeType};
use strongroom_crypto::secret::Secret;

use super::*;
use crate::conformance::{conformance, place, seeded};
use crate::testing::{Place, with_a_token};

#[test]
fn a_token_conforms() {
    with_a_token(
        "pkcs11::tests::a_token_conforms",
        &[&|token| {
            conformance(&|| Box::new(token.open()));
        }],
    );
}

#[test]
fn a_key_of_a_token_outlives_the_process_and_ends_for_all_of_them_at_once() {
    let file = |token: &Place| token.folder.join("wrap");
    let make = |token: &Place| {
        let custody = token.open();
        custody.create(&place(1, 1), &seeded(1)).unwrap();
        let wrap = custody.wrap(&place(1, 1), &Secret::from_bytes(&[9; 32]), &seeded(2)).unwrap();
        assert_eq!(wrap.len(), 144);
        fs::write(file(token), wrap).unwrap();
    };
    let end = |token: &Place| {
        let wrap = fs::read(file(token)).unwrap();
        let custody = token.open();
        let opened = custody.unwrap(&place(1, 1), &wrap).unwrap();
        assert!(opened == Secret::from_bytes(&[9; 32]));
        // One that was open all along sees it too.
        let other = token.open();
        other.destroy(&place(1, 1).application, &place(1, 1).key).unwrap();
        assert!(custody.unwrap(&place(1, 1), &wrap).err() == Some(Error::MISSING_KEY));
    };
    let after = |token: &Place| {
        let wrap = fs::read(file(token)).unwrap();
        assert!(token.open().unwrap(&place(1, 1), &wrap).err() == Some(Error::MISSING_KEY));
    };
    with_a_token(
        "pkcs11::tests::a_key_of_a_token_outlives_the_process_and_ends_for_all_of_them_at_once",
        &[&make, &end, &after],
    );
}

#[test]
fn the_token_gives_no_application_key_away() {
    with_a_token(
        "pkcs11::tests::the_token_gives_no_application_key_away",
        &[&|token| {
            let custody = token.open();
            custody.create(&place(1, 1), &seeded(1)).unwrap();
            let answer = custody.with(|session| {
                let own = find(session, &place(1, 1).application, &place(1, 1).key)?.unwrap();
                let told = session.get_attributes(own, &[AttributeType::Value])?;
                let mut wrapped = passing();
                wrapped.push(Attribute::Value(vec![1; 32]));
                // Neither by reading it nor by wrapping it under another key.
                assert!(!told.iter().any(|told| matches!(told, Attribute::Value(_))), "{told:?}");
                assert!(session.wrap_key(&Mechanism::AesKeyWrap, own, own).is_err());
                session.get_attributes(own, &[AttributeType::Extractable, AttributeType::Sensitive])
            });
            assert_eq!(answer, Ok(vec![Attribute::Extractable(false), Attribute::Sensitive(true)]));
        }],
    );
}

#[test]
fn a_wrong_pin_and_a_missing_token_are_told_from_a_missing_key() {
    with_a_token(
        "pkcs11::tests::a_wrong_pin_and_a_missing_token_are_told_from_a_missing_key",
        &[&|token| {
            let kind = |locator: Locator, pin: &str| {
                Token::open(locator, Zeroizing::new(pin.to_owned())).err().unwrap().kind()
            };
            assert_eq!(kind(token.locator.clone(), "000000"), ErrorKind::Denied);
            let other = Locator { token: Some("another".into()), ..token.locator.clone() };
            assert_eq!(kind(other, "123456"), ErrorKind::Unavailable);
            let no_module = Locator { module: "/etc/hostname".into(), ..token.locator.clone() };
            assert_eq!(kind(no_module, "123456"), ErrorKind::Invalid);
        }],
    );
}

#[test]
fn a_refused_pin_is_not_tried_again_until_there_is_another() {
    with_a_token(
        "pkcs11::tests::a_refused_pin_is_not_tried_again_until_there_is_another",
        &[&|token| {
            let open = |pin: &str| {
                let opened = Token::open(token.locator.clone(), Zeroizing::new(pin.to_owned()));
                opened.map(drop).map_err(|error| (error.kind(), error.message()))
            };
            // The token says so since the last time that somebody came in.
            let was_tried = || {
                let module = module(&token.locator.module).unwrap();
                let slots = module.get_slots_with_initialized_token().unwrap();
                module.get_token_info(slots[0]).unwrap().user_pin_count_low()
            };
            let refused =
                Err((ErrorKind::Denied, "the token refuses the PIN; it is not tried again"));
            assert_eq!(open("000000"), refused);
            assert!(was_tried());
            assert_eq!(open(crate::testing::PIN), Ok(()));
            assert!(!was_tried());
            assert_eq!(open("000000"), refused);
            assert!(!was_tried(), "the same once more");
            assert_eq!(open("111111"), refused);
            assert!(was_tried(), "another one");
            assert_eq!(open(crate::testing::PIN), Ok(()));
            for pin in ["000000", "111111"] {
                assert_eq!(open(pin), refused);
            }
            assert!(!was_tried(), "each of both");
        }],
    );
}
