//! Sources as FFmpeg and cameras write them: what is shown is what the source shows, in colours, frames and times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::media::{Film, launch};
use crate::support::{Data, TestServer, ffprobe, run, until};

/// How far red, green or blue may lie from the source's, of 255: what 8 bits of a matrix and an encoder lose.
const COLOUR_SLACK: u8 = 5;

/// Makes a film with FFmpeg.
pub fn film(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    let ran = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .arg(&path)
        .output()
        .expect("ffmpeg is installed by `make test`");
    assert!(ran.status.success(), "{arguments}: {}", String::from_utf8_lossy(&ran.stderr));
    path
}

/// Red, green and blue of the first picture's bars, each the mean of its middle. `matrix` is what an unspecified one is.
fn bars(media: &Path, matrix: &str) -> Vec<[u8; 3]> {
    let filter = format!("scale=2:9:flags=area+accurate_rnd+full_chroma_int:in_color_matrix={matrix}");
    let ran = Command::new("ffmpeg")
        .args(["-v", "error", "-i", media.to_str().unwrap(), "-frames:v", "1", "-vf", &filter])
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    assert_eq!(ran.stdout.len(), 2 * 9 * 3, "{}: {}", media.display(), String::from_utf8_lossy(&ran.stderr));
    [1, 4, 7].map(|row| ran.stdout[row * 6..][..3].try_into().unwrap()).to_vec()
}

#[test]
fn colours_are_the_sources_whatever_range_and_matrix_it_has_and_whatever_its_container_says() {
    const X264: &str = "-c:v libx264 -preset ultrafast -crf 10";
    const HD: &str = "-color_primaries bt709 -color_trc bt709 -colorspace bt709";
    let media = tempfile::tempdir().unwrap();
    // Name, matrix, range and format of the pictures, and how they are coded and described.
    let kinds = [
        ("full-709.mp4", "bt709", "pc", "yuvj420p", format!("{X264} {HD} -color_range pc")),
        ("full-unsaid.mkv", "bt601", "pc", "yuvj420p", X264.to_owned()),
        ("full-deep.mkv", "bt709", "pc", "yuv422p10le", format!("{X264} {HD} -color_range pc")),
        ("limited-709.mp4", "bt709", "tv", "yuv420p", format!("{X264} {HD}")),
        ("limited-unsaid.mp4", "bt601", "tv", "yuv420p", X264.to_owned()),
        ("full.avi", "bt601", "pc", "yuvj422p", "-c:v mjpeg -q:v 2".to_owned()),
    ];
    let data = Data::new();
    let server = TestServer::over(&data);
    for (name, matrix, range, format, coded) in kinds {
        // Noise makes the source heavy enough that nothing is saved at the renditions' expense.
        let path = film(
            media.path(),
            name,
            &format!(
                "-f lavfi -i rgbtestsrc=s=320x180:r=25:d=0.6 -vf hue=s=0.8:b=0.3,noise=alls=12:allf=t,format=gbrp,\
                 scale=out_color_matrix={matrix}:out_range={range}:flags=accurate_rnd+full_chroma_int,format={format} {coded}"
            ),
        );
        let mut sources = vec![(path.clone(), name.to_owned())];
        let bytes = fs::read(&path).unwrap();
        if let (true, Some(at)) = (range == "pc", bytes.windows(8).position(|w| w == b"colrnclx")) {
            // The container says limited, which FFmpeg's decoder knows better, and so do players.
            let mut lying = bytes.clone();
            assert_eq!(lying[at + 14] & 0x80, 0x80, "{name}");
            lying[at + 14] = 0;
            let path = media.path().join("lying.mp4");
            fs::write(&path, lying).unwrap();
            sources.push((path, format!("{name} whose container lies")));
        }
        let wanted = bars(&path, matrix);
        for (source, what) in sources {
            let id = data.ingest(&source);
            let playlists = server.playlists(&id);
            let best = playlists.iter().find(|p| !p.contains("/source/")).expect("an encoded rendition");
            let shown = media.path().join("shown.mp4");
            fs::write(&shown, server.rendition(best)).unwrap();
            let made = bars(&shown, matrix);
            let off = wanted.as_flattened().iter().zip(made.as_flattened()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off < Some(COLOUR_SLACK), "{what}: {made:?} instead of {wanted:?}");
        }
    }
}

/// Every picture of a film, small and grey.
pub fn thumbnails(media: &Path) -> Vec<Vec<u8>> {
    let ran = Command::new("ffmpeg")
        .args(["-v", "error", "-i", media.to_str().unwrap(), "-vsync", "passthrough", "-vf", "scale=64:48:flags=area"])
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    ran.stdout.chunks_exact(64 * 48).map(<[u8]>::to_vec).collect()
}

/// Each picture is more like its own in the source than like the neighbours of that.
pub fn assert_in_order(what: &str, ours: &[Vec<u8>], theirs: &[Vec<u8>]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let distance = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum::<u64>();
    for (n, picture) in ours.iter().enumerate() {
        let near = n.saturating_sub(3)..theirs.len().min(n + 4);
        // Of those that are the same any will do.
        let like = near.min_by_key(|&m| (distance(picture, &theirs[m]), m.abs_diff(n))).unwrap();
        assert_eq!(like, n, "{what}: which picture is shown");
    }
}

/// Every picture of the film is shown, in its place; and segments have the same bytes in whatever order they are made.
pub fn assert_plays_exactly(name: &str, film: &Path) {
    let media = tempfile::tempdir().unwrap();
    let ours = media.path().join("ours.mp4");
    fs::write(&ours, assert_is_one_film(name, film)).unwrap();
    assert_in_order(name, &thumbnails(&ours), &thumbnails(film));
}

/// Segments have the same bytes in whatever order they are made. What is played.
fn assert_is_one_film(name: &str, film: &Path) -> Vec<u8> {
    let data = Data::new();
    let id = data.ingest(film);
    let server = TestServer::over(&data);
    let playlists = server.playlists(&id);
    let lowest = playlists.last().unwrap();
    let all = server.segments(lowest);
    assert!(all.len() > 3, "{name}: {all:?}");
    let sequential: Vec<Vec<u8>> = all.iter().map(|path| server.bytes(path)).collect();
    assert_eq!(server.metric("matinee_bridged_frames_total"), 0.0, "{name}: {}", server.log());
    drop(server);
    fs::remove_dir_all(data.path().join("cache")).unwrap();
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    for (path, bytes) in all.iter().zip(&sequential).rev() {
        assert!(server.bytes(path) == *bytes, "{name}: {path} differs when it is reached by a cold seek");
    }
    assert_eq!(server.metric("matinee_bridged_frames_total"), 0.0, "{name}: {}", server.log());
    sequential.concat()
}

#[test]
fn pictures_are_in_order_and_the_same_wherever_decoding_begins_whatever_the_container_says() {
    let media = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=320x240:r=25:d=9 -g 12 -q:v 3";
    let refreshed = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -x264-params intra-refresh=1";
    let kinds = [
        ("program.mpg", "-c:v mpeg2video -bf 0 -f vob"),
        ("reordered.mpg", "-c:v mpeg2video -bf 2 -f vob"),
        // Every picture is marked as a key frame.
        ("marked.ivf", "-c:v libvpx -deadline realtime"),
        // Those that are marked are whole only some pictures later.
        ("refreshed.mkv", refreshed),
        ("refreshed.mp4", refreshed),
        // Only decoding has a time.
        ("reordered.avi", "-c:v mpeg4 -bf 2"),
        ("elementary.m1v", "-c:v mpeg1video -bf 2"),
        // B-pictures that stand still have a few bytes.
        ("black.avi", "-c:v mpeg4 -bf 2 -vf drawbox=t=fill:c=black:enable='lt(t,2)'"),
        ("elementary.h264", "-c:v libx264 -preset veryfast -pix_fmt yuv420p"),
        (
            "refreshed-and-reordered.mkv",
            "-c:v libx264 -preset veryfast -pix_fmt yuv420p -x264-params intra-refresh=1:bframes=2",
        ),
        // Pictures are predicted across key frames.
        ("open.mp4", "-c:v libx264 -preset veryfast -pix_fmt yuv420p -x264-params open-gop=1:bframes=3:b-adapt=0"),
        ("open.ts", "-c:v libx264 -preset veryfast -pix_fmt yuv420p -x264-params open-gop=1:bframes=3:b-adapt=0"),
        ("open.mkv", "-c:v libx265 -preset ultrafast -x265-params open-gop=1:bframes=3:b-adapt=0:log-level=none"),
        ("counted.avi", "-c:v libx264 -preset veryfast -pix_fmt yuv420p -x264-params bframes=5:b-pyramid=2:b-adapt=0"),
    ];
    for (name, coded) in kinds {
        assert_plays_exactly(name, &film(media.path(), name, &format!("{source} {coded}")));
    }
}

/// Each flash brings two I-pictures that are no IDR pictures, and later pictures refer past them: what was decoded from one of
/// them was broken, and what came by was not.
#[test]
fn a_film_with_flashes_is_the_same_wherever_decoding_begins() {
    let media = tempfile::tempdir().unwrap();
    let flashing = |name: &str, before: &str, keyint: u32| {
        let coded = format!(
            "-f lavfi -i testsrc2=s=320x240:r=25:d=9 -vf {before}negate=enable='lt(mod(n+1\\,18)\\,1)' -pix_fmt yuv420p -c:v libx264 \
             -preset veryfast -x264-params keyint={keyint}:min-keyint={keyint}:scenecut=100:ref=4:weightp=0:bframes=0:\
             ipratio=0.3:mbtree=0"
        );
        film(media.path(), name, &coded)
    };
    for name in ["flashes.mkv", "flashes.ts"] {
        assert_plays_exactly(name, &flashing(name, "", 75));
    }
    // Only its first picture is an IDR picture, so the others have to do. What they show may be broken.
    assert_is_one_film("alone.ts", &flashing("alone.ts", "loop=2:225:0,", 2000));
}

/// Zeros over packets of a film, counted in the order of decoding.
fn damage(film: &Path, holes: &[std::ops::Range<usize>]) {
    let probed = ffprobe(&fs::read(film).unwrap(), "packet=pos,size");
    let number = |packet: &serde_json::Value, key: &str| packet[key].as_str().unwrap().parse::<usize>().unwrap();
    let mut bytes = fs::read(film).unwrap();
    for packet in holes.iter().flat_map(|hole| &probed["packets"].as_array().unwrap()[hole.clone()]) {
        bytes[number(packet, "pos")..][..number(packet, "size")].fill(0);
    }
    fs::write(film, bytes).unwrap();
}

/// A decoder that goes on holds the last picture of the segment before, and predicts from it.
#[test]
fn a_segment_that_begins_with_a_damaged_picture_is_the_same_wherever_decoding_begins() {
    let media = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=320x240:r=25:d=13 -g 25 -pix_fmt yuv420p";
    let kinds = [
        ("plain.mp4", "-c:v libx264 -preset ultrafast -sc_threshold 0"),
        ("fast.mp4", "-c:v libx264 -preset ultrafast -sc_threshold 0 -r 50"),
        ("vp9.mp4", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("mpeg4.avi", "-c:v mpeg4 -bf 2 -sc_threshold 1000000000"),
    ];
    for (name, coded) in kinds {
        let film = film(media.path(), name, &format!("{source} {coded}"));
        // Boundaries lie at a key frame after 1, 2, 4, 8 and 12 seconds. Two are gone, another with all that follow it, and of
        // the last the picture before.
        let second = if name == "fast.mp4" { 50 } else { 25 };
        let holes = [(2 * second, 1), (4 * second, 1), (8 * second, second), (12 * second - 1, 1)];
        damage(&film, &holes.map(|(at, count)| at..at + count));
        let data = Data::new();
        let id = data.ingest(&film);
        let server = TestServer::over(&data);
        let all = server.segments(server.playlists(&id).last().unwrap());
        assert!(all.len() >= 5, "{name}: {all:?}");
        let sequential: Vec<Vec<u8>> = all.iter().map(|path| server.bytes(path)).collect();
        assert!(server.metric("matinee_bridged_frames_total") > 0.0, "{name}: it is damaged");
        drop(server);
        fs::remove_dir_all(data.path().join("cache")).unwrap();
        let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
        for (path, bytes) in all.iter().zip(&sequential).rev() {
            assert!(server.bytes(path) == *bytes, "{name}: {path} differs when it is reached by a cold seek");
        }
    }
}

#[test]
fn a_picture_is_refused_as_one() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let picture = film(media.path(), "still.jpg", "-f lavfi -i testsrc2=s=64x48:d=1 -frames:v 1");
    let ran = run(data.command(&["ingest", picture.to_str().unwrap()]));
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.error().contains("a picture and no film (image/jpeg)"), "{}", ran.error());
    assert_eq!(data.sources(), Vec::<String>::new());
}

/// It made a plan of millions of segments in the server, and with more packets took it down.
#[test]
fn a_few_bytes_that_claim_to_last_for_months_are_refused() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let sound = film(media.path(), "long.m4a", "-f lavfi -i sine=d=2 -c:a aac");
    let mut bytes = fs::read(&sound).unwrap();
    let table = bytes.windows(4).position(|w| w == b"stts").unwrap();
    // The first entry's duration: every frame but the last lasts for half a day.
    bytes[table + 16..table + 20].copy_from_slice(&i32::MAX.to_be_bytes());
    fs::write(&sound, bytes).unwrap();
    let ran = run(data.command(&["ingest", sound.to_str().unwrap()]));
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.error().contains("lasts longer than 7 days"), "{}", ran.error());
    assert_eq!(data.sources(), Vec::<String>::new());
}

#[test]
fn a_demuxer_that_goes_round_at_the_end_of_its_file_ends_the_film_there() {
    let media = tempfile::tempdir().unwrap();
    let data = Data::new();
    let id = data.ingest(&film(media.path(), "moving.gif", "-f lavfi -i testsrc2=s=160x120:r=10:d=1.7"));
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    let playlists = server.playlists(&id);
    let playlist = playlists.last().unwrap();
    // From the middle, which ends, and all of it.
    server.bytes(server.segments(playlist).last().unwrap());
    let shown = ffprobe(&server.rendition(playlist), "stream=nb_read_frames");
    assert_eq!(shown["streams"][0]["nb_read_frames"], "17");
    assert_eq!(server.metric("matinee_bridged_frames_total"), 0.0, "{}", server.log());
}

#[test]
fn a_film_that_has_lost_its_end_plays_on_and_says_how_many_frames_are_bridged() {
    let (media, data) = (tempfile::tempdir().unwrap(), Data::new());
    let id = data.ingest(&Film::LONG_GOP.make(media.path(), "film.mp4"));
    let source = data.files("library").into_iter().find(|file| file.ends_with("/source")).unwrap();
    let path = data.path().join(source);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    let bridged = || server.get(&format!("/api/v1/videos/{id}")).json()["bridged_frames"].as_u64().unwrap();
    let segments = server.segments(&server.playlist(&id, "144p"));
    server.bytes(&segments[1]);
    assert_eq!(bridged(), 0);
    server.bytes(segments.last().unwrap());
    until("it is told", || bridged() > 0);
    assert_eq!(bridged() as f64, server.metric("matinee_bridged_frames_total"));
}

/// Captions of the pictures went into every rendition, although the playlist says that there are none.
#[test]
fn captions_inside_the_pictures_are_in_none_of_their_renditions() {
    let media = tempfile::tempdir().unwrap();
    let path = media.path().join("captions.mp4");
    launch(&format!(
        "fakesrc num-buffers=100 sizetype=fixed sizemax=3 filltype=pattern-span datarate=75 format=time \
         ! closedcaption/x-cea-708,format=cc_data,framerate=25/1 ! captions.caption \
         videotestsrc num-buffers=100 ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 \
         ! cccombiner name=captions ! x264enc speed-preset=ultrafast key-int-max=50 ! h264parse ! mp4mux \
         ! filesink location={}",
        path.display()
    ));
    let has_captions = |bytes: &[u8]| bytes.windows(4).any(|four| four == b"GA94");
    assert!(has_captions(&fs::read(&path).unwrap()));
    let data = Data::new();
    let id = data.ingest(&path);
    let server = TestServer::over(&data);
    let playlists = server.playlists(&id);
    assert!(playlists.len() > 1 && playlists[0].contains("/source/"), "{playlists:?}");
    for playlist in playlists {
        let segment = server.bytes(&playlist.replace("index.m3u8", "0.m4s"));
        assert!(segment.len() > 1000 && !has_captions(&segment), "{playlist}");
    }
}
