//! Pictures of odd sizes, of pixels that are not square, upright or transparent, and files of odd names.

use std::fs;
use std::path::Path;

use crate::sources::{assert_in_order, film, thumbnails};
use crate::support::{Data, TestServer, ffprobe, run};

#[test]
fn pictures_of_any_shape_are_shown_upright_in_square_pixels_and_even_sizes() {
    const X264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    let media = tempfile::tempdir().unwrap();
    let upright = film(media.path(), "plain.mp4", &format!("-f lavfi -i testsrc2=s=640x360:r=25:d=1 {X264}"));
    // Name, how it is made, and width to height as it is shown.
    let kinds = [
        ("wide.mp4", format!("-f lavfi -i testsrc2=s=720x576:r=25:d=1 -aspect 16:9 {X264}"), 16.0 / 9.0),
        ("narrow.mkv", format!("-f lavfi -i testsrc2=s=704x480:r=25:d=1 -aspect 4:3 {X264}"), 4.0 / 3.0),
        ("odd.avi", "-f lavfi -i testsrc2=s=321x241:r=25:d=1 -c:v mjpeg -pix_fmt yuvj444p".into(), 321.0 / 241.0),
        ("portrait.mp4", format!("-f lavfi -i testsrc2=s=360x640:r=25:d=1 {X264}"), 9.0 / 16.0),
        ("turned.mp4", format!("-i {} -c copy -metadata:s:v rotate=90", upright.display()), 9.0 / 16.0),
    ];
    let data = Data::new();
    let ids: Vec<String> = kinds.iter().map(|(name, made, _)| data.ingest(&film(media.path(), name, made))).collect();
    let server = TestServer::over(&data);
    for ((name, _, aspect), id) in kinds.iter().zip(&ids) {
        let encoded = server.playlists(id).into_iter().filter(|p| !p.contains("/source/"));
        for playlist in encoded {
            let entries = "stream=width,height,sample_aspect_ratio,nb_read_frames:stream_side_data=rotation";
            let probed = ffprobe(&server.rendition(&playlist), entries);
            let stream = &probed["streams"][0];
            let side = |key: &str| stream[key].as_u64().unwrap();
            let (width, height) = (side("width"), side("height"));
            assert_eq!((width % 2, height % 2), (0, 0), "{name}: {playlist}");
            assert!(matches!(stream["sample_aspect_ratio"].as_str(), None | Some("1:1")), "{name}: {stream}");
            // A pixel or two of rounding.
            let wanted = height as f64 * aspect;
            assert!((width as f64 - wanted).abs() <= 2.0 * aspect.max(1.0), "{name}: {width}x{height}");
            assert_eq!((&stream["nb_read_frames"], stream.get("side_data_list")), (&"25".into(), None), "{name}");
        }
    }
}

/// They were refused as damaged: the decoder that was chosen looks for a second picture beside each.
#[test]
fn pictures_that_are_partly_transparent_are_shown_as_if_they_were_not() {
    let media = tempfile::tempdir().unwrap();
    for (name, coder) in [("vp8.webm", "libvpx -auto-alt-ref 0"), ("vp9.webm", "libvpx-vp9 -cpu-used 8")] {
        let film = film(
            media.path(),
            name,
            &format!(
                "-f lavfi -i testsrc2=s=320x180:r=25:d=2 -c:v {coder} -pix_fmt yuva420p -deadline realtime -b:v 1M"
            ),
        );
        // Matroska's AlphaMode.
        assert!(fs::read(&film).unwrap().windows(4).any(|w| w == [0x53, 0xC0, 0x81, 1]), "{name}");
        let data = Data::new();
        let id = data.ingest(&film);
        let server = TestServer::over(&data);
        let shown = media.path().join("shown.mp4");
        fs::write(&shown, server.rendition(server.playlists(&id).last().unwrap())).unwrap();
        assert_eq!(server.metric("matinee_bridged_frames_total"), 0.0, "{name}: {}", server.log());
        assert_in_order(name, &thumbnails(&shown), &thumbnails(&film));
    }
}

#[test]
fn a_files_name_is_a_name_whatever_it_means_to_pipelines_shells_and_options() {
    let media = tempfile::tempdir().unwrap();
    let plain = film(
        media.path(),
        "plain.mp4",
        "-f lavfi -i testsrc2=s=160x120:r=25:d=1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    );
    let names =
        ["a ! b.mp4", "-x.mp4", "%03d.mp4", "quo\"te's \\.mp4", "concat:a|b.mp4", "${HOME} $(id) `id`.mp4", "#?&.mp4"];
    let data = Data::new();
    for name in names {
        let folder = media.path().join("odd");
        let _ = fs::create_dir(&folder);
        fs::copy(&plain, folder.join(name)).unwrap();
        let mut command = data.command(&["ingest", "--json"]);
        command.arg("--").arg(Path::new(name)).current_dir(&folder);
        let ran = run(command);
        assert_eq!(ran.code(), 0, "{name}: {ran:?}");
        let id = ran.json()[0]["id"].as_str().unwrap().to_owned();
        let server = TestServer::over(&data);
        assert_eq!(server.get(&format!("/api/v1/videos/{id}")).json()["title"], name.strip_suffix(".mp4").unwrap());
        let playlists = server.playlists(&id);
        server.rendition(playlists.last().unwrap());
    }
}
