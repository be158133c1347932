//! Whether a plan can be made of an index. It comes from a worker, and whoever made the file may have taken that over, so that
//! nothing it says is believed: neither a length that would take terabytes nor a number that no arithmetic here bears.

use super::{PlanError, audio, text};
use crate::media::{AudioTrack, Index, Ladder, MOST_SECONDS, Track, VideoTrack};

/// Most segments of all renditions together: a week of thirty. Each takes some bytes of the plan, and a line of a playlist.
const MOST_SEGMENTS: u64 = 4_600_000;
/// Samples per second of any sound, and its channels.
const MOST_RATE: u32 = 1_000_000;
const MOST_CHANNELS: u32 = 64;

/// Fails for an index that no plan can be made of.
pub(super) fn check(index: &Index, ladder: &Ladder) -> Result<(), PlanError> {
    index.video.iter().try_for_each(picture)?;
    index.audio.iter().try_for_each(sound)?;
    let longest = tracks(index).map(|t| t.timescale.seconds(t.end)).fold(0.0, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a week has few seconds")]
    let segments = (longest / ladder.segment_seconds) as u64 * renditions(index, ladder);
    if segments > MOST_SEGMENTS { Err(PlanError::TooMany { most: MOST_SEGMENTS }) } else { Ok(()) }
}

fn tracks(index: &Index) -> impl Iterator<Item = &Track> {
    index.video.iter().map(|v| &v.track).chain(index.audio.iter().map(|a| &a.track))
}

/// How many renditions there may be: the source's own, and one for each rung.
fn renditions(index: &Index, ladder: &Ladder) -> u64 {
    let pictures = if index.video.is_some() { ladder.video.len() + 2 } else { 0 };
    let sound = index.audio.len().min(audio::MOST_TRACKS) * (ladder.audio.len() + 1);
    (pictures + sound + index.text.len().min(text::MOST_TRACKS)) as u64
}

fn picture(video: &VideoTrack) -> Result<(), PlanError> {
    let (width, height) = video.shown_size();
    if width.min(height) < 1.0 || width.max(height) > VideoTrack::MOST_SIDE {
        return Err(PlanError::Impossible("a picture of no size, or of too large a one"));
    }
    let is_outside = |at: i64| !(0..video.track.end).contains(&at);
    if video.track.packets.iter().any(|p| p.shown && is_outside(p.pts)) {
        return Err(PlanError::Impossible("a picture before the beginning or behind the end"));
    }
    if video.track.timescale.get() > VideoTrack::FINEST || video.rate.is_some_and(|rate| rate.num == 0) {
        return Err(PlanError::Impossible("a clock or a rate that pictures do not have"));
    }
    times(&video.track)?;
    let at: Vec<i64> = video.track.shown().iter().map(|shown| shown.at).chain([video.track.end]).collect();
    if at.windows(2).all(|w| u32::try_from(w[1] - w[0]).is_ok()) {
        Ok(())
    } else {
        Err(PlanError::Impossible("a picture that stands for longer than a sample can say"))
    }
}

fn sound(audio: &AudioTrack) -> Result<(), PlanError> {
    if !(1..=MOST_RATE).contains(&audio.rate) || !(1..=MOST_CHANNELS).contains(&audio.channels) {
        return Err(PlanError::Impossible("sound of such a rate, or of so many channels"));
    }
    times(&audio.track)
}

fn times(track: &Track) -> Result<(), PlanError> {
    let most = i64::from(MOST_SECONDS) * i64::from(track.timescale.get());
    let all = || track.packets.iter().map(|p| p.pts).chain([track.end]);
    match () {
        () if all().any(|at| at > most) => Err(PlanError::TooLong),
        () if all().any(|at| at < -most) => Err(PlanError::Impossible("a time long before the beginning")),
        () => Ok(()),
    }
}
