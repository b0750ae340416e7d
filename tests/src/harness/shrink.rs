//! Fewer steps that still fail.

use super::step::Step;

/// LIMIT: runs spent on it.
const RUN_COUNT_MAX: usize = 600;

/// Leaves steps out, many at first and then single ones, as long as it still fails.
pub fn shrink(steps: &[Step], fails: &mut dyn FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut best = steps.to_vec();
    let mut chunk = best.len().div_ceil(2).max(1);
    let mut runs = 0;
    loop {
        let mut at = 0;
        let mut any = false;
        while at < best.len() && runs < RUN_COUNT_MAX {
            let mut fewer = best.clone();
            fewer.drain(at..(at + chunk).min(best.len()));
            runs += 1;
            if fails(&fewer) {
                best = fewer;
                any = true;
            } else {
                at += chunk;
            }
        }
        if runs >= RUN_COUNT_MAX || (chunk == 1 && !any) {
            return best;
        }
        chunk = (chunk / 2).max(1);
    }
}
