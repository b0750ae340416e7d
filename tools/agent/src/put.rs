//! A file on its way: decided and put on record while others wait, sent to the store while they do not.

use serde_json::json;
use strongroom_steward::{Asked, Result, Sending};

use crate::call::Call;
use crate::http::Answer;
use crate::routes::Named;
use crate::{Agent, Desk, refused};

impl Agent {
    /// Writes a file of whoever asks; one about several people where the query says who else.
    pub(crate) fn put(&self, call: &Call<'_>, desk: &Desk, named: Named) -> Answer {
        if let Err(answer) = self.check_token_again(call.request) {
            return answer;
        }
        let put = named(call).and_then(|(asked, name)| {
            desk.put(&asked, (&call.others(), &name), &call.request.body)?;
            Ok(Answer::json(200, &json!({"name": name, "size": call.request.body.len()})))
        });
        put.unwrap_or_else(|error| refused(&error))
    }
}

impl Desk {
    fn put(&self, asked: &Asked, (others, name): (&[String], &str), body: &[u8]) -> Result<()> {
        let begun = self.act(&mut |custodian| {
            let mut sending = custodian.begin_put(asked, others, name, body)?;
            if sending.is_long() {
                return Ok(Some(sending));
            }
            custodian.send_and_end(&mut sending, body).map(|_| None)
        })?;
        let Some(mut sending) = begun else { return Ok(()) };
        self.send(&mut sending, body).inspect_err(|_| {
            // What is not removed now is by the next to come.
            let _ = self.act(&mut |custodian| {
                custodian.give_up(&sending);
                Ok(())
            });
        })
    }

    /// Nobody is kept from the application while it is sent.
    fn send(&self, sending: &mut Sending, body: &[u8]) -> Result<()> {
        loop {
            sending.send()?;
            let put = self.act(&mut |custodian| custodian.end_put(sending, body))?;
            if put.is_some() {
                return Ok(());
            }
        }
    }
}
