//! Where the thumbnails of a title are, for players that read WebVTT and for those that read HLS image playlists.

use std::fmt::Write as _;

use crate::media::{Generation, Thumbnails};

/// `/v/{id}/thumbnails.vtt`: a cue for every tile, which names its place on a sheet by a media fragment
/// (Media Fragments URI §4.2.2). URIs are relative to it.
#[must_use]
pub fn vtt(thumbnails: &Thumbnails, generation: &Generation) -> String {
    let mut text = String::from("WEBVTT\n");
    for tile in (0..thumbnails.tiles).filter_map(|n| thumbnails.tile(n)) {
        let (from, to) = (timestamp(tile.from_ms), timestamp(tile.to_ms));
        let (sheet, x, y, w, h) = (tile.sheet, tile.x, tile.y, thumbnails.width, thumbnails.height);
        let _ = write!(text, "\n{from} --> {to}\n{generation}/thumbnails/{sheet}.jpg#xywh={x},{y},{w},{h}\n");
    }
    text
}

/// The line of a multivariant playlist that announces [`images`].
///
/// Image playlists are Roku's and Disney's extension of HLS; a client must ignore tags it does not know (RFC 8216 §6.3.1).
#[must_use]
pub fn image_stream(thumbnails: &Thumbnails, generation: &Generation) -> String {
    let Thumbnails { width, height, .. } = thumbnails;
    format!(
        "#EXT-X-IMAGE-STREAM-INF:BANDWIDTH={},RESOLUTION={width}x{height},CODECS=\"jpeg\",\
         URI=\"{generation}/thumbnails/index.m3u8\"\n",
        thumbnails.bandwidth(),
    )
}

/// `/v/{id}/{generation}/thumbnails/index.m3u8`: the sheets as an image playlist.
#[must_use]
pub fn images(thumbnails: &Thumbnails) -> String {
    let Thumbnails { width, height, columns, rows, .. } = thumbnails;
    let longest = thumbnails.sheet_ms().min(thumbnails.duration_ms);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-IMAGES-ONLY\n",
        // RFC 8216 §4.3.3.1: no EXTINF, rounded to the nearest second, may exceed it.
        (longest + 500) / 1000 + u64::from(longest < 500),
    );
    for sheet in 0..thumbnails.sheets() {
        let from = u64::from(sheet) * thumbnails.sheet_ms();
        let lasts = seconds(thumbnails.sheet_ms().min(thumbnails.duration_ms - from));
        let each = seconds(thumbnails.interval_ms);
        let _ = write!(
            text,
            "#EXTINF:{lasts},\n#EXT-X-TILES:RESOLUTION={width}x{height},LAYOUT={columns}x{rows},DURATION={each}\n{sheet}.jpg\n"
        );
    }
    text + "#EXT-X-ENDLIST\n"
}

/// `HH:MM:SS.mmm` (WebVTT §3.3).
fn timestamp(ms: u64) -> String {
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbnails() -> Thumbnails {
        Thumbnails {
            width: 160,
            height: 90,
            columns: 2,
            rows: 1,
            interval_ms: 2000,
            tiles: 3,
            duration_ms: 3_604_500 - 3_600_000,
        }
    }

    fn generation() -> Generation {
        "0123456789abcdef".parse().unwrap()
    }

    #[test]
    fn every_tile_has_a_cue_that_names_its_place() {
        let expected = "\
WEBVTT

00:00:00.000 --> 00:00:02.000
0123456789abcdef/thumbnails/0.jpg#xywh=0,0,160,90

00:00:02.000 --> 00:00:04.000
0123456789abcdef/thumbnails/0.jpg#xywh=160,0,160,90

00:00:04.000 --> 00:00:04.500
0123456789abcdef/thumbnails/1.jpg#xywh=0,0,160,90
";
        assert_eq!(vtt(&thumbnails(), &generation()), expected);
        assert_eq!(timestamp(90_061_001), "25:01:01.001");
    }

    #[test]
    fn an_image_playlist_lists_the_sheets_and_how_they_are_divided() {
        let expected = "\
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:4
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-IMAGES-ONLY
#EXTINF:4.000,
#EXT-X-TILES:RESOLUTION=160x90,LAYOUT=2x1,DURATION=2.000
0.jpg
#EXTINF:0.500,
#EXT-X-TILES:RESOLUTION=160x90,LAYOUT=2x1,DURATION=2.000
1.jpg
#EXT-X-ENDLIST
";
        assert_eq!(images(&thumbnails()), expected);
        assert_eq!(
            image_stream(&thumbnails(), &generation()),
            "#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=400000,RESOLUTION=160x90,CODECS=\"jpeg\",\
             URI=\"0123456789abcdef/thumbnails/index.m3u8\"\n"
        );
    }
}
