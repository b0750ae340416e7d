//! What keys an application has, how old they are and what is under way: counts and times, never a key.

use serde_json::{Value, json};
use strongroom_records::register::SUBJECT_SLOT;

use crate::custodian::Custodian;
use crate::error::Result;
use crate::rotate::RegisterKeyStatus;
use crate::times::time_text;

/// Keys of an application, level by level.
#[derive(Clone, Debug)]
pub struct KeysStatus {
    /// Generation of the application key.
    pub generation: u64,
    /// When it came into force.
    pub since: i64,
    /// The kind of custody it is in.
    pub custody: &'static str,
    /// The register's own key.
    pub register: RegisterKeyStatus,
    /// Subjects that ever had keys: those who are erased have none any more.
    pub subjects: u64,
    /// A change of everybody's keys that is under way.
    pub everybody: Option<EverybodyStatus>,
}

/// A change of everybody's keys that is under way: it goes on when it is asked for again.
#[derive(Clone, Copy, Debug)]
pub struct EverybodyStatus {
    /// When it began.
    pub since: i64,
    /// Whether everything is sealed anew.
    pub is_deep: bool,
}

impl Custodian {
    /// Which keys there are. Costs the same among few people and many.
    ///
    /// # Errors
    /// `Corrupt`; those of the store.
    pub fn keys(&self) -> Result<KeysStatus> {
        let register = self.register();
        let rotation = self.description()?.rotation;
        let everybody = self.rotating_since()?.zip(rotation);
        Ok(KeysStatus {
            generation: register.root().generation,
            since: register.key_since()?,
            custody: register.keystore().custody().describe().kind.name(),
            register: self.register_key()?,
            subjects: register.root().next_slot.saturating_sub(SUBJECT_SLOT) / 2,
            everybody: everybody
                .map(|(since, rotation)| EverybodyStatus { since, is_deep: rotation.deep }),
        })
    }
}

/// Which keys there are, for machines: the same as the command's and the agent's answer.
pub fn keys_json(keys: &KeysStatus) -> Value {
    let everybody = keys
        .everybody
        .map(|everybody| json!({"since": time_text(everybody.since), "deep": everybody.is_deep}));
    json!({
        "application": {
            "generation": keys.generation,
            "since": time_text(keys.since),
            "custody": keys.custody,
        },
        "register": {
            "generation": keys.register.generation + 1,
            "since": time_text(keys.register.since),
            "under_way": !keys.register.is_whole,
            "due": keys.register.is_due,
        },
        "subjects": {"count": keys.subjects, "under_way": everybody},
    })
}
