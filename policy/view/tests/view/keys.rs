//! New keys disturb nobody who reads.

use strongroom_records::subject::ConsentStatus::Withdrawn;
use strongroom_steward::Depth;

use crate::common::{Shop, content, follow, only, open, read};

#[test]
fn a_new_application_key_disturbs_nobody_who_reads() {
    let mut shop = Shop::new(14);
    shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let handle = open(&view, &format!("{person}/owned/file")).unwrap();
    shop.act(|shop| shop.rotate().map(drop).unwrap());
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    assert_eq!(
        content(&view, &format!("{person}/identifiable/file")).unwrap(),
        b"ada identifiable"
    );
}

/// What is withdrawn behind it is gone all the same.
#[test]
fn a_new_register_key_disturbs_nobody_who_reads_and_what_is_withdrawn_after_it_is_gone() {
    let mut shop = Shop::new(19);
    let ada = shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let handle = open(&view, &format!("{person}/owned/file")).unwrap();
    shop.act(|shop| shop.rotate_register(&mut |_| ()).map(drop).unwrap());
    follow(&view);
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    assert_eq!(
        content(&view, &format!("{person}/identifiable/file")).unwrap(),
        b"ada identifiable"
    );
    shop.say(ada, "newsletter", Withdrawn);
    follow(&view);
    assert!(read(&view, handle).is_err());
}

#[test]
fn rotation_with_everything_sealed_anew_disturbs_nobody_who_reads() {
    let mut shop = Shop::new(18);
    let ada = shop.reader("ada");
    let view = shop.view("newsletter");
    let person = only(&view);
    let handle = open(&view, &format!("{person}/owned/file")).unwrap();
    assert_eq!(read(&view, handle).unwrap(), b"ada owned");
    let mut count = 0;
    shop.act(|shop| {
        shop.rotate_subject(&ada, Depth::Deep, None, &mut |_| count += 1).map(drop).unwrap()
    });
    assert!(count > 0);
    assert_eq!(read(&view, handle).unwrap(), b"ada owned", "under its new key");
    follow(&view);
    assert_eq!(only(&view), person, "names outlive keys");
    assert_eq!(
        content(&view, &format!("{person}/identifiable/file")).unwrap(),
        b"ada identifiable"
    );
}
