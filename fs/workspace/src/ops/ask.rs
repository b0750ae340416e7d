//! Requests through a mount: one extended attribute of the root for each, which nothing lists. Setting it says what is
//! asked; reading it does that and gives the reply, once. Not the other way round: the kernel locks a folder while an
//! attribute of it is set, and nobody could look a name up in the root meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ask::{REPLY_LEN_MAX, Reply, Request};
use crate::door::Answer;
use crate::error::{Error, ErrorKind};
use crate::workspace::{Inner, Workspace};

/// What the name of such an attribute begins with; a token of the asker's follows.
pub const ASK_PREFIX: &[u8] = b"user.strongroom.ask.";
/// LIMIT: requests that wait to be fetched. The oldest goes first.
const REQUESTS_MAX: usize = 16;

/// Requests by token.
pub(crate) type Requests = VecDeque<(Vec<u8>, Vec<u8>)>;

impl Inner {
    /// Notes what is asked.
    pub(super) fn asked(&self, token: &[u8], request: &[u8]) {
        let mut requests = self.requests.lock();
        requests.retain(|(other, _)| other != token);
        if requests.len() == REQUESTS_MAX {
            requests.pop_front();
        }
        requests.push_back((token.to_vec(), request.to_vec()));
    }

    /// Does what was asked, however long that takes, and says what came of it.
    pub(super) fn reply(self: &Arc<Self>, token: &[u8]) -> Answer<Vec<u8>> {
        let request = {
            let mut requests = self.requests.lock();
            let index = requests.iter().position(|(other, _)| other == token);
            index.and_then(|index| requests.remove(index))
        };
        let Some((_, request)) = request else {
            return Answer::Ready(Err(Error::new(ErrorKind::NoData, "nothing was asked")));
        };
        self.blocking(move |inner| {
            let reply =
                Request::parse(&request).and_then(|request| Workspace(inner.clone()).ask(request));
            let bytes = Reply::from(reply).encode();
            if bytes.len() > REPLY_LEN_MAX {
                let message = "the answer is too long for a mount; ask with the store instead";
                return Ok(Reply::from(Err(Error::new(ErrorKind::Range, message))).encode());
            }
            Ok(bytes)
        })
    }
}
