//! A file on its way: decided and put on record while others wait, sent to the store while they do not.

use std::cell::RefCell;

use serde_json::json;
use strongroom_steward::{Asked, Error, ErrorKind, Result, Sending};

use crate::call::Call;
use crate::http::Answer;
use crate::routes::Named;
use crate::{Agent, Desk, refused};

/// A file to be written: about whom, what, and whether whoever writes it still may.
struct Put<'p> {
    asked: &'p Asked,
    others: &'p [String],
    name: &'p str,
    body: &'p [u8],
    may: &'p dyn Fn() -> Result<()>,
}

impl Agent {
    /// Writes a file of whoever asks; one about several people where the query says who else.
    pub(crate) fn put(&self, call: &Call<'_>, desk: &Desk, named: Named) -> Answer {
        if let Err(answer) = self.check_token_again(call.request) {
            return answer;
        }
        let (ended, body) = (RefCell::new(None), &call.request.body);
        // A token that ends while its file is on its way puts nothing on record.
        let may = || {
            self.token_as_before(call).map_err(|answer| {
                *ended.borrow_mut() = Some(answer);
                Error::new(ErrorKind::Denied, "the token has ended")
            })
        };
        let put = named(call).and_then(|(asked, name)| {
            let (asked, others, name) = (&asked, &call.others()[..], &name[..]);
            desk.put(&Put { asked, others, name, body, may: &may })?;
            Ok(Answer::json(200, &json!({"name": name, "size": body.len()})))
        });
        put.unwrap_or_else(|error| ended.take().unwrap_or_else(|| refused(&error)))
    }
}

impl Desk {
    fn put(&self, put: &Put<'_>) -> Result<()> {
        let begun = self.act(&mut |custodian| {
            let mut sending = custodian.begin_put(put.asked, put.others, put.name, put.body)?;
            if sending.is_long() {
                return Ok(Some(sending));
            }
            custodian.send_and_end(&mut sending, put.body, put.may).map(|_| None)
        })?;
        let Some(mut sending) = begun else { return Ok(()) };
        self.send(&mut sending, put).inspect_err(|_| {
            // What is not removed now is by the next to come.
            let _ = self.act(&mut |custodian| {
                custodian.give_up(&sending);
                Ok(())
            });
        })
    }

    /// Nobody is kept from the application while it is sent.
    fn send(&self, sending: &mut Sending, put: &Put<'_>) -> Result<()> {
        loop {
            sending.send()?;
            let ended = self.act(&mut |custodian| {
                (put.may)()?;
                custodian.end_put(sending, put.body)
            })?;
            if ended.is_some() {
                return Ok(());
            }
        }
    }
}
