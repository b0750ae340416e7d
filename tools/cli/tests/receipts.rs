//! Receipts: whoever cannot have one where it is wanted finds out before the deed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Place, Said};
use serde_json::Value;

struct Shop(Place);

impl Shop {
    /// A shop with ada, bob and one job.
    fn new() -> (Self, [String; 2]) {
        let place = Place::with_workspace();
        fs::write(place.path("notice.md"), "We write to you once a month.\n").unwrap();
        let shop = Self(place);
        shop.say("app create shop").expect_done();
        let people = [(); 2].map(|()| shop.done("subject create").trim_end().to_owned());
        let notice = shop.0.path("notice.md");
        shop.done(&format!(
            "consumer register newsletter --purpose news --basis consent --class owned --notice {}",
            notice.display()
        ));
        shop.done("consumer approve newsletter");
        (shop, people)
    }

    fn say(&self, line: &str) -> Said {
        let mut command = self.0.command(line);
        command.args(["--workspace"]).arg(self.0.store());
        command.args(["--passphrase-file"]).arg(self.0.path("pass"));
        self.0.said(command.stdin(Stdio::null()).output().unwrap())
    }

    fn of(&self, line: &str) -> Said {
        self.say(&format!("{line} --app shop"))
    }

    #[track_caller]
    fn done(&self, line: &str) -> String {
        self.of(line).expect_done()
    }

    /// Records of the register so far.
    fn records(&self) -> u64 {
        let verified: Value = serde_json::from_str(&self.done("audit verify --json")).unwrap();
        verified["records"].as_u64().unwrap()
    }
}

#[test]
fn whoever_cannot_have_a_receipt_finds_out_before_the_deed() {
    let (shop, [ada, bob]) = Shop::new();
    let deeds = [
        format!("consent grant --subject {ada} --activity newsletter"),
        format!("subject rotate {ada}"),
        "app rotate".to_owned(),
        format!("subject merge {ada} {bob} --yes"),
        format!("subject erase {ada} --yes"),
    ];
    let taken = shop.0.path("taken");
    fs::write(&taken, "somebody's").unwrap();
    let records = shop.records();
    for deed in &deeds {
        for place in [&taken, &shop.0.path("nowhere/receipt"), &shop.0.path("home")] {
            let told = shop.of(&format!("{deed} --receipt {}", place.display()));
            assert_eq!((told.code, told.out.as_str()), (1, ""), "{deed}: {}", told.err);
            assert!(told.err.starts_with("strongroom: writing the receipt: "), "{}", told.err);
            assert_eq!(shop.records(), records, "{deed} was done");
        }
    }
    assert_eq!(fs::read(&taken).unwrap(), b"somebody's");
    for (number, deed) in deeds.iter().enumerate() {
        let place = shop.0.path(&format!("receipt-{number}"));
        // What an interrupted command has left is no obstacle to asking again.
        fs::write(&place, "").unwrap();
        shop.done(&format!("{deed} --receipt {}", place.display()));
        assert!(fs::read(&place).unwrap().starts_with(b"SRr1"), "{deed}");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&place).unwrap().permissions())
                & 0o777,
            0o600
        );
    }
}

#[test]
fn nothing_is_left_of_a_receipt_for_what_was_refused() {
    let (shop, [ada, _]) = Shop::new();
    shop.done(&format!("subject hold {ada} --ground litigation"));
    let receipt = shop.0.path("receipt");
    let erase = format!("subject erase {ada} --yes --receipt {}", receipt.display());
    assert_eq!(shop.of(&erase).code, 4);
    assert!(!receipt.exists());
    shop.done(&format!("subject hold {ada} --ground litigation --lift"));
    shop.done(&erase);
    // The same receipt once more, somewhere else.
    let again = shop.0.path("again");
    shop.done(&format!("subject erase {ada} --yes --receipt {}", again.display()));
    assert_eq!(fs::read(receipt).unwrap(), fs::read(again).unwrap());
}
