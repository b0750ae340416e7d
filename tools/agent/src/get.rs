//! A file on its way to whoever reads it: decided and put on record while others wait, fetched from the store while they do not.

use strongroom_crypto::secret::SecretBytes;
use strongroom_steward::{Asked, MOVED_COUNT_MAX, Reading, Result, moved_all_the_time};

use crate::call::Call;
use crate::door::Guest;
use crate::http::Answer;
use crate::routes::Named;
use crate::{Agent, Desk, Holds, refused, too_much};

/// How far reading got at the desk.
enum Begun {
    /// It was short.
    Read(Option<Vec<u8>>),
    /// It is to be fetched while others write.
    Long(Box<Reading>),
}

impl Agent {
    /// Reads a file for whoever asks.
    pub(crate) fn get(&self, call: &Call<'_>, guest: &Guest, desk: &Desk, named: Named) -> Answer {
        let (asked, name) = match named(call) {
            Ok(named) => named,
            Err(error) => return refused(&error),
        };
        let holds = Holds::new(self, call);
        for _ in 0..MOVED_COUNT_MAX {
            let begun = match desk.begin_read(&asked, &name, &holds) {
                Ok(begun) => begun,
                Err(error) => return holds.refused(&error),
            };
            let read = match begun {
                Begun::Read(plain) => Ok(plain),
                Begun::Long(reading) => {
                    let len = usize::try_from(reading.len()).unwrap_or(usize::MAX);
                    let Some(_room) = guest.hold(len) else { return too_much() };
                    desk.end_read(&reading, reading.fetch(), &holds)
                }
            };
            match read {
                Ok(Some(plain)) => return Answer::bytes("application/octet-stream", plain),
                Ok(None) => {}
                Err(error) => return holds.refused(&error),
            }
        }
        refused(&moved_all_the_time())
    }
}

impl Desk {
    fn begin_read(&self, asked: &Asked, name: &str, holds: &Holds<'_>) -> Result<Begun> {
        self.act(&mut |custodian| {
            holds.check()?;
            let reading = custodian.begin_read(asked, name)?;
            match reading.is_long() {
                true => Ok(Begun::Long(Box::new(reading))),
                false => custodian.end_read(&reading, reading.fetch()).map(Begun::Read),
            }
        })
    }

    /// Nobody is kept from the application before it.
    fn end_read(
        &self,
        reading: &Reading,
        fetched: Result<SecretBytes>,
        holds: &Holds<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let mut fetched = Some(fetched);
        self.act(&mut |custodian| {
            holds.check()?;
            match fetched.take() {
                Some(fetched) => custodian.end_read(reading, fetched),
                // Whatever is wrong came between: it is read anew.
                None => Ok(None),
            }
        })
    }
}
