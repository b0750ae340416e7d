//! Requests through a mount: one extended attribute of the root for each, which nothing lists. Setting it does what is
//! asked; reading it fetches the reply, once.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ask::{REPLY_LEN_MAX, Reply, Request};
use crate::door::Answer;
use crate::error::{Error, ErrorKind, Result};
use crate::workspace::{Inner, Workspace};

/// What the name of such an attribute begins with; a token of the asker's follows.
pub const ASK_PREFIX: &[u8] = b"user.strongroom.ask.";
/// LIMIT: replies that wait. The oldest goes first.
const REPLIES_MAX: usize = 16;

/// Replies by token.
pub(crate) type Replies = VecDeque<(Vec<u8>, Vec<u8>)>;

impl Inner {
    /// Does what is asked, off the kernel's request thread.
    pub(super) fn asked(self: &Arc<Self>, token: &[u8], request: &[u8]) -> Answer<()> {
        let (inner, token, request) = (self.clone(), token.to_vec(), request.to_vec());
        Answer::Later(Box::pin(async move {
            let reply =
                Request::parse(&request).and_then(|request| Workspace(inner.clone()).ask(request));
            let mut bytes = Reply::from(reply).encode();
            if bytes.len() > REPLY_LEN_MAX {
                let message = "the answer is too long for a mount; ask with the store instead";
                bytes = Reply::from(Err(Error::new(ErrorKind::Range, message))).encode();
            }
            let mut replies = inner.replies.lock();
            replies.retain(|(other, _)| *other != token);
            if replies.len() == REPLIES_MAX {
                replies.pop_front();
            }
            replies.push_back((token, bytes));
            Ok(())
        }))
    }

    /// The reply to a request, if it waits.
    pub(super) fn reply(&self, token: &[u8]) -> Option<Result<Vec<u8>>> {
        let mut replies = self.replies.lock();
        let index = replies.iter().position(|(other, _)| other == token)?;
        replies.remove(index).map(|(_, bytes)| Ok(bytes))
    }
}
