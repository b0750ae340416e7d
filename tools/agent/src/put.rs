//! A file on its way: decided and put on record while others wait, sent to the store while they do not.

use serde_json::json;
use strongroom_crypto::wipe::Wiped;
use strongroom_steward::{Asked, Result, Sending};

use crate::call::Call;
use crate::http::Answer;
use crate::routes::Named;
use crate::{Agent, Desk, Holds};

/// A file to be written: about whom, under which name, and whether whoever writes it still may.
struct Put<'p> {
    asked: &'p Asked,
    others: &'p [String],
    name: &'p str,
    may: &'p dyn Fn() -> Result<()>,
}

impl Agent {
    /// Writes a file of whoever asks; one about several people where the query says who else.
    pub(crate) fn put(&self, call: &Call<'_>, desk: &Desk, named: Named, body: Wiped) -> Answer {
        // It may have ended while the body came.
        if let Err(answer) = self.token_as_before(call) {
            return answer;
        }
        let size = body.len();
        // A token that ends while its file is on its way puts nothing on record.
        let holds = Holds::new(self, call);
        let may = || holds.check();
        let put = named(call).and_then(|(asked, name)| {
            let (asked, others, name) = (&asked, &call.others()[..], &name[..]);
            desk.put(&Put { asked, others, name, may: &may }, body)?;
            Ok(Answer::json(200, &json!({"name": name, "size": size})))
        });
        put.unwrap_or_else(|error| holds.refused(&error))
    }
}

impl Desk {
    fn put(&self, put: &Put<'_>, body: Wiped) -> Result<()> {
        let begun = self.act(&mut |custodian| {
            let mut sending = custodian.begin_put(put.asked, put.others, put.name, &body)?;
            if sending.is_long() {
                return Ok(Some(sending));
            }
            custodian.send_and_end(&mut sending, &body, put.may).map(|_| None)
        })?;
        let Some(mut sending) = begun else { return Ok(()) };
        // What is sealed needs its body no more, which is wiped: it may be on its way for an hour.
        let body = Some(body).filter(|_| sending.needs_plain());
        self.send(&mut sending, body.as_deref(), put.may).inspect_err(|_| {
            // What is not removed now is by the next to come.
            let _ = self.act(&mut |custodian| {
                custodian.give_up(&sending);
                Ok(())
            });
        })
    }

    /// Nobody is kept from the application while it is sent.
    fn send(
        &self,
        sending: &mut Sending,
        body: Option<&[u8]>,
        may: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        loop {
            sending.send()?;
            let is_ended = self.act(&mut |custodian| {
                may()?;
                match body {
                    Some(body) => Ok(custodian.end_put(sending, body)?.is_some()),
                    None => custodian.end_sealed(sending).map(|()| true),
                }
            })?;
            if is_ended {
                return Ok(());
            }
        }
    }
}
