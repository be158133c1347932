//! A packet as a demuxer gives it.

use super::keys::{Codec, HEAD_BYTES, Place, Start, Told};

/// A packet as the demuxer gives it.
#[derive(Clone, Copy, Debug)]
pub struct RawPacket {
    /// Presentation time as stream time, nanoseconds. Packets that share a block of the container may have none.
    pub pts: Option<i64>,
    /// Decode time as stream time, nanoseconds.
    pub dts: Option<i64>,
    /// Duration, nanoseconds, if known.
    pub duration: Option<u64>,
    /// Bytes.
    pub size: u32,
    /// Can decoding start here?
    pub start: Start,
    /// When is it shown, if it has no presentation time?
    pub place: Place,
    /// It is the second field of the frame that the packet before it began.
    pub is_second_field: bool,
}

#[cfg(test)]
impl RawPacket {
    /// One of a byte.
    pub fn for_tests(pts: Option<i64>, dts: Option<i64>) -> Self {
        Self { pts, dts, duration: None, size: 1, start: Start::Here, place: Place::Unknown, is_second_field: false }
    }
}

/// A time that a film may have, nanoseconds: what lies years away is no time, and would lead arithmetic to its limits.
pub fn believable(ns: i64) -> Option<i64> {
    /// Nine years.
    const MOST_NS: u64 = 1 << 58;
    (ns.unsigned_abs() <= MOST_NS).then_some(ns)
}

/// The same with what its bytes say, which only an index needs.
pub fn described(packet: RawPacket, sample: &gst::Sample, told: &mut Told) -> RawPacket {
    let mut described = RawPacket { place: place(&packet, sample, told), ..packet };
    let Some(buffer) = sample.buffer() else { return described };
    let is_marked = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    let Some(codec) = sample.caps().and_then(Codec::of) else {
        described.start = if is_marked { Start::Here } else { Start::Nowhere };
        return described;
    };
    if let Some(caps) = sample.caps() {
        told.by(caps);
    }
    if !is_marked && !codec.may_hold_fields(told) {
        return described;
    }
    let mut head = vec![0; buffer.size().min(HEAD_BYTES)];
    let copied = buffer.copy_to_slice(0, &mut head).map_or_else(|copied| copied, |()| head.len());
    let head = &head[..copied];
    described.is_second_field = codec.is_second_field(head, told);
    if is_marked && !described.is_second_field {
        described.start = codec.start(head);
    }
    described
}

/// A packet's times as stream time, which accounts for edit lists and stays the same after a seek. `None` for what is
/// no packet but a header, which the caps carry as well.
pub fn raw_packet(sample: &gst::Sample) -> Option<RawPacket> {
    let buffer = sample.buffer()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let stream_time = |time: gst::ClockTime| {
        believable(match segment.to_stream_time_full(time)? {
            gst::Signed::Positive(t) => i64::try_from(t.nseconds()).ok()?,
            gst::Signed::Negative(t) => -i64::try_from(t.nseconds()).ok()?,
        })
    };
    let in_caps = sample.caps().and_then(|c| c.structure(0)).is_some_and(|s| s.has_field("streamheader"));
    let header = buffer.flags().contains(gst::BufferFlags::HEADER) && (in_caps || buffer.size() == 0);
    (!header).then(|| RawPacket {
        pts: buffer.pts().and_then(stream_time),
        dts: buffer.dts().and_then(stream_time),
        duration: buffer.duration().map(gst::ClockTime::nseconds),
        size: u32::try_from(buffer.size()).unwrap_or(u32::MAX),
        start: Start::Nowhere,
        place: Place::Unknown,
        is_second_field: false,
    })
}

/// When a picture is shown that may have no time of its own.
fn place(packet: &RawPacket, sample: &gst::Sample, told: &mut Told) -> Place {
    let codec = sample.caps().and_then(Codec::of).filter(|_| packet.pts.is_none() || packet.pts == packet.dts);
    let (Some(codec), Some(buffer), Some(caps)) = (codec, sample.buffer(), sample.caps()) else {
        return Place::Unknown;
    };
    told.by(caps);
    buffer.map_readable().map_or(Place::Unknown, |map| codec.place(&map, told))
}
