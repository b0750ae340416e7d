//! Requests that were answered under an idempotency key, and their answers.

use std::collections::{BTreeMap, VecDeque};

use crate::http::Answer;

/// LIMIT: answers that are kept, and bytes of one; an answer that is longer is not kept, its request is done again.
const COUNT_MAX: usize = 10_000;
const ANSWER_LEN_MAX: usize = 64 << 10;

/// A request under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Hash of token and key.
    pub place: [u8; 32],
    /// Hash of what was asked.
    pub request: [u8; 32],
}

/// Answers by place, the oldest forgotten first.
#[derive(Default)]
pub struct Replays {
    kept: BTreeMap<[u8; 32], ([u8; 32], Option<Answer>)>,
    order: VecDeque<[u8; 32]>,
}

impl Replays {
    /// Takes a place for a request.
    ///
    /// # Errors
    /// The answer to give instead: the one it had, or that it is on its way, or that the key was used for something else.
    pub fn begin(&mut self, replay: &Replay) -> Result<(), Answer> {
        match self.kept.get(&replay.place) {
            Some((request, _)) if *request != replay.request => {
                Err(Answer::refused(422, "invalid", "the key was used for another request"))
            }
            Some((_, Some(answer))) => Err(answer.clone()),
            Some((_, None)) => Err(Answer::refused(409, "conflict", "the request is on its way")),
            None => {
                if self.order.len() >= COUNT_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.kept.remove(&oldest);
                }
                self.kept.insert(replay.place, (replay.request, None));
                self.order.push_back(replay.place);
                Ok(())
            }
        }
    }

    /// Keeps the answer of what was done. A refusal changed nothing, and may be another answer next time: it is not kept.
    pub fn keep(&mut self, replay: Replay, answer: &Answer) {
        if answer.status < 300 && answer.body.len() <= ANSWER_LEN_MAX {
            self.kept.insert(replay.place, (replay.request, Some(answer.clone())));
        } else {
            self.kept.remove(&replay.place);
            self.order.retain(|place| *place != replay.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(place: usize, request: u8) -> Replay {
        let mut at = [0; 32];
        at[..8].copy_from_slice(&place.to_le_bytes());
        Replay { place: at, request: [request; 32] }
    }

    #[test]
    fn a_repeated_request_has_its_answer_and_another_one_is_refused() {
        let mut replays = Replays::default();
        assert_eq!(replays.begin(&replay(1, 1)), Ok(()));
        assert_eq!(replays.begin(&replay(1, 1)).unwrap_err().status, 409);
        let answer = Answer::bytes("text/plain", b"done".to_vec());
        replays.keep(replay(1, 1), &answer);
        assert_eq!(replays.begin(&replay(1, 1)), Err(answer));
        assert_eq!(replays.begin(&replay(1, 2)).unwrap_err().status, 422);
        // What failed or was refused is tried again.
        assert_eq!(replays.begin(&replay(2, 1)), Ok(()));
        replays.keep(replay(2, 1), &Answer::refused(503, "unavailable", "away"));
        assert_eq!(replays.begin(&replay(2, 1)), Ok(()));
        replays.keep(replay(2, 1), &Answer::refused(403, "denied", "disabled"));
        assert_eq!(replays.begin(&replay(2, 1)), Ok(()));
    }

    #[test]
    fn the_oldest_answers_are_forgotten() {
        let mut replays = Replays::default();
        for place in 0..COUNT_MAX + 10 {
            assert_eq!(replays.begin(&replay(place, 1)), Ok(()));
        }
        assert_eq!((replays.kept.len(), replays.order.len()), (COUNT_MAX, COUNT_MAX));
        assert_eq!(replays.begin(&replay(0, 2)), Ok(()));
    }
}
