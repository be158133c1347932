//! Init segments: `ftyp` and `moov` of one track (ISO/IEC 14496-12 §8, CMAF §7.3). Children stand in the order that
//! encoders and packagers commonly write. Leaf boxes come from `mp4-atom`; the nesting is written here because the
//! decoder configuration must be carried byte for byte, and a typed `avcC` is normalised when it is encoded.
//!
//! There is never an edit list: offsets are baked into the timeline.

use bytes::Bytes;
use mp4_atom::{
    Audio, BufMut, Codec, Colr, Dinf, Dref, Encode, Esds, FixedPoint, FourCC, Ftyp, Hdlr, Mdhd, Mp4a, Mvex, Mvhd, Pasp,
    Smhd, Stco, Stsc, Stsz, Stts, Tkhd, Trex, Url, Visual, Vmhd, esds,
};

use crate::media::{AudioRendition, Colour, Rendition, RenditionKind, Timescale, VideoRendition, h264, language};

use super::{Error, TRACK_ID};

/// Structural brands: fragments since `iso6`, CMAF, and CMAF with signed offsets and no edit list.
const BRANDS: [&[u8; 4]; 4] = [b"iso6", b"cmfc", b"cmf2", b"mp41"];

/// H.273: unspecified, for primaries, transfer and matrix alike.
const UNSPECIFIED: u8 = 2;

type BoxResult = mp4_atom::Result<()>;

/// What differs between tracks, and how the sample entry is written.
struct Track<'a> {
    handler: &'static [u8; 4],
    timescale: Timescale,
    language: &'a str,
    width: u16,
    height: u16,
    entry: &'a dyn Fn(&mut Vec<u8>) -> BoxResult,
}

/// The init segment of a rendition, around the record a worker reported. Text has none: what belongs to the whole of it
/// is the whole as one document.
///
/// # Errors
/// See [`video_init`] and [`audio_init`]; [`Error::Codecs`] for pictures that a player was not told of.
pub fn init(rendition: &Rendition, config: &[u8]) -> Result<Bytes, Error> {
    match &rendition.kind {
        RenditionKind::Video(video) => {
            let made = video_init(rendition.grid.timescale(), video, config)?;
            let (found, said) = (h264::codecs_of(config).unwrap_or_default(), rendition.codecs.clone());
            if h264::is_within(config, &said) { Ok(made) } else { Err(Error::Codecs { found, said }) }
        }
        RenditionKind::Audio(audio) => {
            let bitrate = u32::try_from(rendition.average_bandwidth.unwrap_or(rendition.bandwidth));
            audio_init(rendition.grid.timescale(), audio, bitrate.unwrap_or(u32::MAX), config)
        }
        RenditionKind::Text(_) => super::text(Bytes::copy_from_slice(config)),
    }
}

/// An `avc1` track around an `avcC` record (ISO/IEC 14496-15 §5.3.3.1), which is carried byte for byte, and completed if it
/// ends before what its profile requires, as those that GStreamer makes do.
///
/// # Errors
/// [`Error::Config`] and [`Error::NalLengthSize`] for a record that does not go with our samples, [`Error::TooLarge`]
/// for a picture of more than 65535 pixels a side.
pub fn video_init(timescale: Timescale, video: &VideoRendition, avcc: &[u8]) -> Result<Bytes, Error> {
    match avcc {
        [1, _, _, _, sizes, sets, ..] if sets & 0x1f > 0 && sizes & 3 == 3 => {}
        [1, _, _, _, sizes, sets, ..] if sets & 0x1f > 0 => return Err(Error::NalLengthSize((sizes & 3) + 1)),
        _ => return Err(Error::Config(avcc.len())),
    }
    let (width, height) = (sixteen_bits("width", video.width)?, sixteen_bits("height", video.height)?);
    let entry = |out: &mut Vec<u8>| {
        out.encode_atom(b"avc1", |out| {
            Visual { data_reference_index: 1, width, height, ..Visual::default() }.encode(out)?;
            out.encode_atom(b"avcC", |out| {
                out.append_slice(avcc);
                out.append_slice(h264::missing_tail(avcc));
                Ok(())
            })?;
            colr(video.colour).encode(out)?;
            Pasp { h_spacing: 1, v_spacing: 1 }.encode(out)
        })
    };
    write(&Track { handler: b"vide", timescale, language: "und", width, height, entry: &entry })
}

/// An `mp4a` track whose `esds` carries exactly this `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1). `bitrate` is in
/// bits per second and informative.
///
/// # Errors
/// [`Error::Config`] for a configuration shorter than its two fixed bytes.
pub fn audio_init(timescale: Timescale, audio: &AudioRendition, bitrate: u32, config: &[u8]) -> Result<Bytes, Error> {
    if config.len() < 2 {
        return Err(Error::Config(config.len()));
    }
    let channel_count = sixteen_bits("channels", audio.channels)?;
    let dec_config = esds::DecoderConfig {
        object_type_indication: 0x40,
        stream_type: 5,
        max_bitrate: bitrate,
        avg_bitrate: bitrate,
        dec_specific: Some(esds::DecoderSpecific { raw: config.to_vec(), ..Default::default() }),
        ..Default::default()
    };
    let mp4a = Codec::from(Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count,
            sample_size: 16,
            // 16.16 fixed point: 88.2 and 96 kHz do not fit, zero sends players to the configuration.
            sample_rate: u16::try_from(audio.rate).unwrap_or(0).into(),
        },
        esds: Esds { es_desc: esds::EsDescriptor { dec_config, ..Default::default() } },
        btrt: None,
        taic: None,
    });
    let entry = |out: &mut Vec<u8>| mp4a.encode(out);
    write(&Track { handler: b"soun", timescale, language: &audio.language, width: 0, height: 0, entry: &entry })
}

fn write(track: &Track) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(1024);
    let brands = BRANDS.map(FourCC::from);
    let ftyp = Ftyp { major_brand: brands[0], minor_version: 0, compatible_brands: brands.to_vec() };
    ftyp.encode(&mut out).and_then(|()| moov(&mut out, track)).map_err(|e| Error::Box(e.to_string()))?;
    Ok(out.into())
}

fn moov(out: &mut Vec<u8>, track: &Track) -> BoxResult {
    let timescale = track.timescale.get();
    let mvhd = Mvhd { timescale, rate: 1.into(), volume: 1.into(), next_track_id: TRACK_ID + 1, ..Default::default() };
    let trex = Trex { track_id: TRACK_ID, default_sample_description_index: 1, ..Default::default() };
    out.encode_atom(b"moov", |out| {
        mvhd.encode(out)?;
        out.encode_atom(b"trak", |out| trak(out, track))?;
        Mvex { mehd: None, trex: vec![trex] }.encode(out)
    })
}

fn trak(out: &mut Vec<u8>, track: &Track) -> BoxResult {
    let is_audio = track.handler == b"soun";
    let tkhd = Tkhd {
        track_id: TRACK_ID,
        enabled: true,
        in_movie: true,
        volume: FixedPoint::new(u8::from(is_audio), 0),
        width: track.width.into(),
        height: track.height.into(),
        ..Default::default()
    };
    tkhd.encode(out)?;
    out.encode_atom(b"mdia", |out| {
        let short = language::three_letters(track.language);
        // `mdhd` says it all, unless something follows the language.
        let is_whole = short.is_some() && !track.language.contains('-');
        let language = short.unwrap_or_else(|| "und".to_owned());
        Mdhd { timescale: track.timescale.get(), language, ..Default::default() }.encode(out)?;
        Hdlr { handler: track.handler.into(), name: String::new() }.encode(out)?;
        if !is_whole {
            // ExtendedLanguageTag, ISO/IEC 14496-12 §8.4.6: any RFC 5646 tag, and it overrides the three letters.
            out.encode_atom(b"elng", |out| [0u8; 4].encode(out).and_then(|()| track.language.encode(out)))?;
        }
        out.encode_atom(b"minf", |out| {
            if is_audio {
                Smhd::default().encode(out)?
            } else {
                Vmhd::default().encode(out)?
            }
            Dinf { dref: Dref { entries: vec![Url::default().into()] } }.encode(out)?;
            out.encode_atom(b"stbl", |out| {
                out.encode_atom(b"stsd", |out| {
                    [0u8, 0, 0, 0, 0, 0, 0, 1].encode(out)?;
                    (track.entry)(out)
                })?;
                Stts::default().encode(out)?;
                Stsc::default().encode(out)?;
                Stsz::default().encode(out)?;
                Stco::default().encode(out)
            })
        })
    })
}

/// `None` where nothing is known: a box that says "unspecified" three times helps nobody.
fn colr(colour: Colour) -> Option<Colr> {
    let Colour { primaries, transfer, matrix, full_range } = colour;
    let known = full_range || [primaries, transfer, matrix].iter().any(|&c| c != UNSPECIFIED);
    known.then(|| Colr::Nclx {
        colour_primaries: primaries.into(),
        transfer_characteristics: transfer.into(),
        matrix_coefficients: matrix.into(),
        full_range_flag: full_range,
    })
}

fn sixteen_bits(what: &'static str, value: u32) -> Result<u16, Error> {
    u16::try_from(value).map_err(|_| Error::TooLarge { what, value })
}

#[cfg(test)]
mod tests {
    use mp4_atom::{Any, DecodeMaybe};

    use super::super::testing::{audio_rendition, be32, boxes, find, one_segment, video_rendition};
    use super::*;

    /// High profile with the extension bytes of §5.3.3.1.2, reserved bits cleared and a byte too many: all of it
    /// would change if the record were decoded and encoded again.
    const AVCC: [u8; 21] =
        [1, 100, 0, 31, 0x03, 0x01, 0, 4, 0x67, 100, 0, 31, 1, 0, 1, 0x68, 0x01, 0x00, 0x00, 0x00, 0xee];
    /// AAC-LC, 48 kHz, stereo, with the explicit "no SBR" extension that FFmpeg appends.
    const ASC: [u8; 5] = [0x11, 0x90, 0x56, 0xe5, 0x00];
    const STSD: [&[u8; 4]; 6] = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"];

    fn video() -> Rendition {
        video_rendition(one_segment(12_800, 0, 25, 12_800), 1280, 720)
    }

    #[test]
    fn a_video_init_segment_carries_the_record_byte_for_byte() {
        let bytes = init(&video(), &AVCC).unwrap();
        assert_eq!(bytes, init(&video(), &AVCC).unwrap());
        assert_eq!(boxes(&bytes).iter().map(|(k, _)| k).collect::<Vec<_>>(), [b"ftyp", b"moov"]);
        let stsd = find(&bytes, &STSD).unwrap();
        let (kind, entry) = boxes(&stsd[8..])[0];
        assert_eq!(&kind, b"avc1");
        assert_eq!(entry[24..28], [5, 0, 2, 208], "1280 by 720");
        assert_eq!(find(&entry[78..], &[b"avcC"]).unwrap(), AVCC);
        assert_eq!(find(&entry[78..], &[b"colr"]).unwrap(), *b"nclx\0\x01\0\x01\0\x01\0");
        assert_eq!(find(&entry[78..], &[b"pasp"]).unwrap(), [0, 0, 0, 1, 0, 0, 0, 1]);
        assert!(find(&bytes, &[b"moov", b"trak", b"edts"]).is_none(), "no edit list");
        assert_eq!(be32(find(&bytes, &[b"moov", b"trak", b"mdia", b"mdhd"]).unwrap(), 20), 12_800);
        assert_eq!(be32(find(&bytes, &[b"moov", b"mvex", b"trex"]).unwrap(), 4), TRACK_ID);
    }

    #[test]
    fn an_audio_init_segment_carries_exactly_this_configuration() {
        let rendition = |language| audio_rendition(one_segment(48_000, 0, 1, 1024), language);
        let bytes = init(&rendition("deu"), &ASC).unwrap();
        let (kind, entry) = boxes(&find(&bytes, &STSD).unwrap()[8..])[0];
        assert_eq!((&kind, entry[17], be32(entry, 24) >> 16), (b"mp4a", 2, 48_000));
        let esds = find(&entry[28..], &[b"esds"]).unwrap();
        let at = esds.windows(2).position(|w| w == [5, 5]).unwrap() + 2;
        assert_eq!(esds[at..at + 5], ASC);
        // Five bits a letter, counted from one (§8.4.2.3).
        let said = |language| {
            let bytes = init(&rendition(language), &ASC).unwrap();
            let mdhd = find(&bytes, &[b"moov", b"trak", b"mdia", b"mdhd"]).unwrap();
            let packed = be32(mdhd, mdhd.len() - 4) >> 16;
            let letters = [10, 5, 0].map(|shift| char::from((packed >> shift & 0x1F) as u8 + 0x60));
            let elng = find(&bytes, &[b"moov", b"trak", b"mdia", b"elng"]).map(<[u8]>::to_vec);
            (letters.iter().collect::<String>(), elng)
        };
        assert_eq!(said("de"), ("deu".to_owned(), None));
        assert_eq!(said("deu"), ("deu".to_owned(), None));
        assert_eq!(said("pt-BR"), ("por".to_owned(), Some(b"\0\0\0\0pt-BR\0".to_vec())));
        assert_eq!(said("x-own"), ("und".to_owned(), Some(b"\0\0\0\0x-own\0".to_vec())));
    }

    #[test]
    fn another_parser_reads_what_is_written() {
        for bytes in [
            init(&video(), &AVCC[..20]).unwrap(),
            init(&audio_rendition(one_segment(48_000, 0, 1, 1024), "en"), &ASC).unwrap(),
        ] {
            let mut rest = &bytes[..];
            let mut kinds = Vec::new();
            while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
                if let Any::Moov(moov) = &atom {
                    assert_eq!(moov.trak[0].tkhd.track_id, moov.mvex.as_ref().unwrap().trex[0].track_id);
                    assert_eq!(moov.trak[0].mdia.minf.stbl.stsd.codecs.len(), 1);
                }
                kinds.push(atom.kind().to_string());
            }
            assert_eq!(kinds, ["ftyp", "moov"]);
        }
    }

    #[test]
    fn a_record_that_does_not_go_with_the_samples_is_refused() {
        let mut two_byte_lengths = AVCC;
        two_byte_lengths[4] = 0xfd;
        assert_eq!(init(&video(), &two_byte_lengths), Err(Error::NalLengthSize(2)));
        let mut without_sps = AVCC;
        without_sps[5] = 0xe0;
        for bad in [&without_sps[..], &AVCC[..5], &[], &[0; 21]] {
            assert_eq!(init(&video(), bad), Err(Error::Config(bad.len())));
        }
        let mut higher = AVCC;
        higher[3] = 40;
        let (found, said) = ("avc1.640028".to_owned(), "avc1.64001F".to_owned());
        assert_eq!(init(&video(), &higher), Err(Error::Codecs { found, said }), "a template that chose its own level");
        let audio = audio_rendition(one_segment(48_000, 0, 1, 1024), "en");
        assert_eq!(init(&audio, &ASC[..1]), Err(Error::Config(1)));
        let huge = video_rendition(one_segment(12_800, 0, 25, 12_800), 70_000, 720);
        assert_eq!(init(&huge, &AVCC), Err(Error::TooLarge { what: "width", value: 70_000 }));
    }
}
