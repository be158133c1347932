//! Reads back what `cmaf.rs` and `init.rs` wrote. It believes nothing: the bytes come from a cache that anybody may have
//! touched, and this runs in the server.

use bytes::Bytes;
use mp4_atom::{Any, Codec, DecodeMaybe, Moov, Traf};

use crate::media::{Sample, Timescale};

use super::Error;

/// `sample_is_non_sync_sample` (ISO/IEC 14496-12 §8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// What an init segment says of its track.
pub(super) struct Track {
    pub timescale: Timescale,
    pub config: Config,
}

/// What a decoder needs before the first sample.
pub(super) enum Config {
    /// Parameter sets, each without a start code: those of sequences first.
    Avc(Vec<Vec<u8>>),
    /// `AudioSpecificConfig`.
    Aac(Vec<u8>),
}

/// The track of an init segment.
pub(super) fn track(init: &[u8]) -> Result<Track, Error> {
    let mut rest = init;
    while let Some(atom) = next(&mut rest)? {
        if let Any::Moov(moov) = atom {
            return of_moov(moov);
        }
    }
    Err(Error::NoConfig("moov box"))
}

fn of_moov(mut moov: Moov) -> Result<Track, Error> {
    let media = moov.trak.pop().ok_or(Error::NoConfig("track"))?.mdia;
    let timescale = Timescale::new(media.mdhd.timescale).ok_or(Error::NoConfig("timescale"))?;
    let config = match media.minf.stbl.stsd.codecs.into_iter().next() {
        Some(Codec::Avc1(entry)) => {
            let record = entry.avcc;
            let extensions = record.ext.map(|ext| ext.sequence_parameter_sets_ext).unwrap_or_default();
            Config::Avc([record.sequence_parameter_sets, extensions, record.picture_parameter_sets].concat())
        }
        Some(Codec::Mp4a(entry)) => {
            let specific = entry.esds.es_desc.dec_config.dec_specific;
            Config::Aac(specific.ok_or(Error::NoConfig("AudioSpecificConfig"))?.raw)
        }
        _ => return Err(Error::NoConfig("H.264 or AAC track")),
    };
    Ok(Track { timescale, config })
}

/// The samples of a segment, each with its decode time in ticks of the track.
pub(super) fn samples(segment: &Bytes) -> Result<Vec<(i64, Sample)>, Error> {
    let mut samples = Vec::new();
    let mut rest = &segment[..];
    loop {
        let at = segment.len() - rest.len();
        match next(&mut rest)? {
            None => return Ok(samples),
            Some(Any::Moof(moof)) => {
                for traf in &moof.traf {
                    of_fragment(traf, segment, at, &mut samples)?;
                }
            }
            Some(_) => {}
        }
    }
}

/// The runs of a fragment whose `moof` begins at byte `at`.
fn of_fragment(traf: &Traf, segment: &Bytes, at: usize, samples: &mut Vec<(i64, Sample)>) -> Result<(), Error> {
    let odd = |what: &str| Error::Box(what.to_owned());
    let tfdt = traf.tfdt.as_ref().ok_or_else(|| odd("a fragment without tfdt"))?;
    let mut time = i64::try_from(tfdt.base_media_decode_time).map_err(|_| odd("a decode time beyond all films"))?;
    for run in &traf.trun {
        let offset = run.data_offset.and_then(|offset| usize::try_from(offset).ok());
        let mut start = at.saturating_add(offset.ok_or_else(|| odd("a run without data offset"))?);
        for (number, entry) in run.samples.iter().enumerate() {
            let size = entry.size.or(traf.tfhd.default_sample_size).ok_or_else(|| odd("a sample without size"))?;
            let duration = entry.duration.or(traf.tfhd.default_sample_duration);
            let duration = duration.ok_or_else(|| odd("a sample without duration"))?;
            let end = start.saturating_add(size as usize);
            // An empty sample is no sample; without this, a run that says a billion of them would be believed.
            if size == 0 || end > segment.len() {
                return Err(Error::Short { sample: number, end, length: segment.len() });
            }
            let flags = entry.flags.or(traf.tfhd.default_sample_flags).unwrap_or(0);
            let composition =
                i32::try_from(entry.cts.unwrap_or(0)).map_err(|_| odd("a composition offset of hours"))?;
            let data = segment.slice(start..end);
            samples.push((time, Sample { duration, composition, sync: flags & NON_SYNC == 0, data }));
            time = time.saturating_add(i64::from(duration));
            start = end;
        }
    }
    Ok(())
}

fn next(rest: &mut &[u8]) -> Result<Option<Any>, Error> {
    Any::decode_maybe(rest).map_err(|error| Error::Box(error.to_string()))
}
