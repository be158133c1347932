//! Promise 3 to the ear: sound that is encoded in segments is as close to its source at their seams as sound that is
//! encoded at once.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::frames::{durations, peak};
use crate::media::launch;
use crate::support::{Data, Dice, TestServer, run};

const RATE: f64 = 48_000.0;
/// Samples of an AAC frame.
const FRAME: usize = 1024;
/// How much further from the source seams may be than a continuous encode is there, decibels.
const SLACK_DB: f64 = 3.0;

/// Twenty seconds of notes that are struck and fade, over noise and a rising tone.
fn music(folder: &Path) -> PathBuf {
    let (since, pitch) = ("mod(t,0.37)", "(110+20*mod(7*floor(t/0.37),12))");
    let partial = |n: u32| format!("exp(-{n}*3*{since})*sin({n}*2*PI*{pitch}*{since})/{n}");
    let notes = format!("0.2*({}+{}+{})", partial(1), partial(2), partial(3));
    let rest = "0.1*sin(2*PI*(100*t+20*t*t))+0.04*(random(0)-0.5)";
    computed(folder, "music", &format!("{notes}+{rest}"), 20)
}

/// Ten seconds of so many tones at once, others in each channel.
fn tones(folder: &Path, channels: u64, count: i32) -> PathBuf {
    let channel = |number: u64| {
        let mut dice = Dice::new(number + 16);
        let mut chance = || (dice.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let tone = |n: i32| {
            let pitch = 40.0 * 545_f64.powf((f64::from(n) + chance()) / f64::from(count));
            format!("sin(2*PI*{pitch:.2}*t+{:.2})", TAU * chance())
        };
        format!("0.7/{count}*({})", (0..count).map(tone).collect::<Vec<_>>().join("+"))
    };
    let sources: Vec<String> = (0..channels).map(channel).collect();
    computed(folder, &format!("tones-{channels}-{count}"), &sources.join("|"), 10)
}

/// Sound that FFmpeg computes.
fn computed(folder: &Path, name: &str, channels: &str, seconds: u32) -> PathBuf {
    let path = folder.join(format!("{name}.flac"));
    let source = format!("aevalsrc={channels}:s={RATE}:d={seconds}").replace(',', "\\,");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", &source]).arg(&path);
    let ran = run(ffmpeg);
    assert_eq!(ran.code(), 0, "{ran:?}");
    path
}

/// FFmpeg's encoder gives them more than it is asked to.
#[test]
fn tones_stay_below_what_their_renditions_declare() {
    let (folder, data) = (tempfile::tempdir().unwrap(), Data::new());
    let films = [(1, 1), (1, 14), (2, 1), (2, 14)];
    let mut ids =
        films.map(|(channels, count)| (channels, data.ingest(&tones(folder.path(), channels, count)))).to_vec();
    // What follows silence: an encoder may have forgotten to save.
    for channels in [1, 2] {
        let noise = vec!["0.5*(random(0)-0.5)*lt(mod(t,5),1)"; channels];
        let film = computed(folder.path(), &format!("bursts-{channels}"), &noise.join("|"), 20);
        ids.push((channels as u64, data.ingest(&film)));
    }
    let server = TestServer::over(&data);
    for (channels, id) in &ids {
        let names = if *channels == 1 { ["audio-80k", "audio-40k"] } else { ["audio-128k", "audio-64k"] };
        let video = server.get(&format!("/api/v1/videos/{id}")).json();
        for name in names {
            let renditions = video["renditions"].as_array().unwrap();
            let declared = renditions.iter().find(|r| r["name"] == name).unwrap()["bandwidth"].as_f64().unwrap();
            let is = peak(&server, &server.playlist(id, name));
            assert!(is <= declared, "{name}: {is:.0} bits per second, declared are {declared:.0}");
        }
    }
    assert!(server.metric("matinee_segments_over_bandwidth_total") < 1.0);
}

/// What FFmpeg decodes, from the first packet on.
fn decoded(media: &Path) -> Vec<f32> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i", media.to_str().unwrap(), "-f", "f32le", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect()
}

/// How far above what differs the sound lies in the two frames that meet at each of some places, decibels; the mean of all.
fn snr(source: &[f32], coded: &[f32], places: &[usize]) -> f64 {
    let power = |samples: &mut dyn Iterator<Item = f32>| samples.map(|s| f64::from(s).powi(2)).sum::<f64>();
    let at = |place: &usize| {
        let around = place - FRAME..place + FRAME;
        let (source, coded) = (&source[around.clone()], &coded[around]);
        let off = power(&mut source.iter().zip(coded).map(|(a, b)| a - b));
        10.0 * (power(&mut source.iter().copied()) / off).log10()
    };
    places.iter().map(at).sum::<f64>() / places.len() as f64
}

#[test]
fn a_seam_is_as_close_to_the_source_as_a_continuous_encode() {
    let (folder, data) = (tempfile::tempdir().unwrap(), Data::new());
    let film = music(folder.path());
    let source = decoded(&film);
    let id = data.ingest(&film);
    let server = TestServer::over(&data);
    let playlist = server.playlist(&id, "audio-80k");
    let (whole, ours) = (folder.path().join("whole.mp4"), folder.path().join("ours.mp4"));
    launch(&format!(
        "filesrc location={} ! flacparse ! flacdec ! audioconvert ! avenc_aac bitrate=80000 aac-ms=false \
         aac-pns=false aac-coder=fast ! aacparse \
         ! mp4mux ! filesink location={}",
        film.display(),
        whole.display()
    ));
    std::fs::write(&ours, server.rendition(&playlist)).unwrap();
    // The encoder's first packet stands for what is before the beginning.
    let (continuous, ours) = (decoded(&whole).split_off(FRAME), decoded(&ours));
    let lengths = durations(&server.text(&playlist));
    let ends = lengths.iter().scan(0.0, |end, length| {
        *end += length;
        Some((*end * RATE).round() as usize)
    });
    let seams: Vec<usize> = ends.take(lengths.len() - 1).collect();
    assert!(seams.len() >= 5, "{seams:?}");
    let middles: Vec<usize> = seams.windows(2).map(|pair| usize::midpoint(pair[0], pair[1])).collect();
    for (what, places) in [("seams", &seams), ("middles", &middles)] {
        let (wanted, is) = (snr(&source, &continuous, places), snr(&source, &ours, places));
        assert!(is > wanted - SLACK_DB, "{what}: {is:.1} dB, in one encode {wanted:.1} dB");
    }
}

/// The encoder coded the sum and the difference of the channels, whatever they held, and both were heard on both sides.
#[test]
fn what_is_heard_on_one_side_alone_is_not_heard_on_the_other() {
    let (folder, data) = (tempfile::tempdir().unwrap(), Data::new());
    let film = computed(folder.path(), "wide", "0.4*sin(2*PI*(200*t+400*t*t))|0.4*sin(2*PI*(3000*t-100*t*t))", 8);
    let source = decoded(&film);
    let id = data.ingest(&film);
    let server = TestServer::over(&data);
    let ours = folder.path().join("ours.mp4");
    std::fs::write(&ours, server.rendition(&server.playlist(&id, "audio-128k"))).unwrap();
    let ours = decoded(&ours);
    let places: Vec<usize> = (1..14).map(|n| n * 48_000).collect();
    let snr = snr(&source, &ours, &places);
    assert!(snr > 20.0, "{snr:.1} dB");
}

/// Five seconds before which nothing is heard and then a beep every half second, coded by FFmpeg.
fn beeps(folder: &Path, name: &str, coding: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let beep = "0.5*sin(2*PI*1000*t)*lt(mod(t+0.25\\,0.5)\\,0.05)";
    let source = format!("aevalsrc={beep}|{beep}:s={RATE}:d=9");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", &source]).args(coding).arg(&path);
    let ran = run(ffmpeg);
    assert_eq!(ran.code(), 0, "{ran:?}");
    path
}

/// When a sound begins behind a tenth of a second of silence, seconds.
fn onsets(samples: &[f32]) -> Vec<f64> {
    let loud = samples.iter().enumerate().filter(|(_, sample)| sample.abs() > 0.2).map(|(n, _)| n as f64 / 2.0 / RATE);
    let mut last = f64::NEG_INFINITY;
    loud.filter(|at| *at - std::mem::replace(&mut last, *at) > 0.1).collect()
}

/// Blocks of ADPCM lay over each other, a beep was heard twice as often; AAC in LOAS frames and TrueHD were heard up to
/// 0.15 s early, in each segment otherwise.
#[test]
fn sound_that_decodes_from_some_packets_alone_and_such_as_demuxers_time_wrong_is_heard_when_it_should_be() {
    let (folder, data) = (tempfile::tempdir().unwrap(), Data::new());
    let kinds: [(&str, &[&str]); 4] = [
        ("ima.wav", &["-c:a", "adpcm_ima_wav"]),
        ("ms.avi", &["-c:a", "adpcm_ms"]),
        ("latm.ts", &["-c:a", "aac", "-mpegts_flags", "latm"]),
        ("truehd.mkv", &["-c:a", "truehd", "-strict", "-2"]),
    ];
    let ids = kinds.map(|(name, coding)| (name, data.ingest(&beeps(folder.path(), name, coding))));
    let server = TestServer::over(&data);
    for (name, id) in &ids {
        let ours = folder.path().join("ours.mp4");
        std::fs::write(&ours, server.rendition(&server.playlist(id, "audio-128k"))).unwrap();
        let onsets = onsets(&decoded(&ours));
        // GStreamer's parser of LOAS frames loses what comes before the second that says how they are coded.
        assert!(onsets.len() >= 17, "{name}: {onsets:?}");
        assert!(onsets.windows(2).all(|pair| (pair[1] - pair[0] - 0.5).abs() < 0.0015), "{name}: {onsets:?}");
    }
}
