//! An export on its way: a piece is made while others wait, and goes out while they do not.
//!
//! 1. While a piece goes out nobody is kept from the application, and no key of the subject is at hand for it. So a slow reader
//!    costs a piece's memory and one of a door's few turns, and who is erased meanwhile has no further piece.
//! 2. The answer has chunks and no length: one that breaks off has no last chunk, so that nobody takes it for whole.
//! 3. What was released is on record before it is read; that it was exported, when all but the receipt has gone out.

use std::io;

use strongroom_records::ids::SubjectId;
use strongroom_steward::{Export, Result};

use crate::call::Call;
use crate::door::{Guest, Timed, Wire};
use crate::http::{self, Answer};
use crate::package::Package;
use crate::{Agent, Desk, Holds, refused};

/// What is still to come of an export.
struct Pieces<'d> {
    desk: &'d Desk,
    holds: &'d Holds<'d>,
    subject: SubjectId,
    export: Option<Export>,
}

impl Pieces<'_> {
    /// The next piece, and whether it is the last.
    fn next(&mut self) -> Result<(Vec<u8>, bool)> {
        let mut package = Package::default();
        let (desk, subject, export) = (self.desk, self.subject, &mut self.export);
        let at_the_desk = desk.act(&mut |custodian| {
            self.holds.check()?;
            let under_way = match export.take() {
                Some(under_way) => under_way,
                None => custodian.begin_export(&subject)?,
            };
            let under_way = export.insert(under_way);
            match custodian.reads_long_history(under_way)? {
                true => Ok(None),
                false => custodian.go_on(under_way, &mut package).map(Some),
            }
        })?;
        let exported = match (at_the_desk, export) {
            (None, Some(export)) => {
                // LIMIT: as many at a time as there are turns to export.
                desk.act_alone(&mut |custodian| custodian.go_on(export, &mut package))?
            }
            (done, _) => done.flatten(),
        };
        let is_last = exported.is_some();
        Ok((if is_last { package.last_piece() } else { package.piece() }, is_last))
    }
}

impl Agent {
    /// Answers with everything about a subject, as a tar archive. Whether the connection stays.
    ///
    /// # Errors
    /// Those of the connection; `Interrupted` where no further piece can be had.
    pub(crate) fn export<W: Wire>(
        &self,
        wire: &mut Timed<'_, W>,
        guest: &Guest,
        call: &Call<'_>,
        desk: &Desk,
    ) -> io::Result<bool> {
        let keeps = call.request.keeps;
        let holds = Holds::new(self, call);
        let begin = || {
            if !call.request.takes_chunks {
                return Err(Answer::refused(400, "invalid", "an export needs HTTP/1.1"));
            }
            let busy =
                || Answer::refused(503, "unavailable", "too many exports at a time: ask again");
            let turn = guest.export().ok_or_else(busy)?;
            let subject = call.subject().map_err(|error| refused(&error))?;
            let mut pieces = Pieces { desk, holds: &holds, subject, export: None };
            let first = pieces.next().map_err(|error| holds.refused(&error))?;
            Ok((turn, pieces, first))
        };
        let (_turn, mut pieces, (mut piece, mut is_last)) = match begin() {
            Ok(begun) => begun,
            Err(answer) => return answer.write(wire, keeps).map(|()| keeps),
        };
        wire.next_step(guest);
        http::begin_chunks(wire, "application/x-tar", keeps)?;
        loop {
            wire.next_step(guest);
            http::chunk(wire, &piece)?;
            if is_last {
                return http::end_chunks(wire).map(|()| keeps);
            }
            // Before the next is made: there is one at a time.
            drop(piece);
            (piece, is_last) = pieces.next().map_err(|_| io::ErrorKind::Interrupted)?;
        }
    }
}
