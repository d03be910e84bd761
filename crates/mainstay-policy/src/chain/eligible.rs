//! Who may be asked, and in which order of preference.
//!
//! A candidate's tier is one number; the smallest is asked first. From the least significant bit:
//!
//! | bits | | |
//! |---|---|---|
//! | 0-2 | health | ready, then unknown or in doubt, then what only a last resort asks |
//! | 3-4 | distance | [`RANK`]: the distance that the request looks at first, then the others |
//! | 5 | return | [`BEHIND`]: on its way back, asked by turns |
//! | 6 | standing | [`SPARE`]: when nobody in use can be asked |
//!
//! So a near member in doubt comes before a far one that is ready: the shares of the distances have
//! taken the doubt into account already. 255 is a [`TRIAL`].

use crate::Moment;
use crate::standing::Standing;
use crate::target::Target;
use crate::verdict::Verdict;

use super::returning;

/// The tier of a stalled target that one request may try. Never picked but by taking the trial.
pub(super) const TRIAL: u8 = u8::MAX;

/// One step of distance.
pub(super) const RANK: u8 = 8;
/// The bits that hold it.
pub(super) const RANKS: u8 = 3 * RANK;

/// Added to the tier of a member on its way back: behind every other, however far.
pub(super) const BEHIND: u8 = 32;

/// Added to the tier of a spare: behind every member in use, and those on their way back.
pub(super) const SPARE: u8 = 64;

/// The order in which targets are preferred; `None` where none may be asked. Busy and slow ones
/// stand with the ready: their cost and their share speak for themselves, and a tier of their own
/// would take all their requests away.
pub(super) fn tier(target: &Target, last_resort: bool) -> Option<u8> {
    match target.place.standing() {
        Standing::Active | Standing::Spare => {}
        Standing::Drained => return last_resort.then_some(3),
        Standing::Away => return None,
    }
    match target.health.verdict() {
        Verdict::Ready | Verdict::Busy | Verdict::Slow => {
            Some(if target.health.deep() { 0 } else { 1 })
        }
        Verdict::Unknown => Some(1),
        Verdict::Stalled if !last_resort && target.health.trial_is_open() => Some(TRIAL),
        Verdict::Stalled
        | Verdict::Loading
        | Verdict::Draining
        | Verdict::Dead
        | Verdict::Wrong => last_resort.then_some(3),
    }
}

/// Whether a request could be sent to the target now, had it room.
#[must_use]
pub fn may_be_asked(target: &Target, now: Moment) -> bool {
    tier(target, false).is_some()
        && target.pause.until(now).is_none()
        && !returning::is_out(target)
        && target.breaker.would_admit(now).is_ok()
}
