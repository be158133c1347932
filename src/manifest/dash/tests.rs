use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::media::{AudioSource, Label, Rate};

use super::*;

const BT709: Colour = Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };

fn grid(timescale: u32, at: &[u64]) -> Grid {
    let cuts = at.iter().zip(0..).map(|(&at, frame)| Cut { frame, at }).collect();
    Grid::new(Timescale::new(timescale).unwrap(), cuts).unwrap()
}

fn rendition(name: &str, codecs: &str, bandwidth: u64, grid: Grid, kind: RenditionKind) -> Rendition {
    Rendition { name: name.parse().unwrap(), grid, codecs: codecs.into(), bandwidth, average_bandwidth: None, kind }
}

fn video(name: &str, height: u32, grid: Grid, colour: Colour, source: VideoSource) -> Rendition {
    let rate = Rate::new(if height <= 360 { 15_000 } else { 30_000 }, 1001).unwrap();
    let kind = VideoRendition { width: height * 16 / 9, height, rate, peak_rate: None, colour, audio: None, source };
    rendition(name, "avc1.64001F", u64::from(height) * 1000, grid, RenditionKind::Video(kind))
}

fn encoded(name: &str, height: u32) -> Rendition {
    let source = VideoSource::Encode { ceiling: 1, level: 31, min_frame_ticks: 0 };
    video(name, height, grid(30_000, &[0, 30_030, 60_060, 180_180, 300_300, 330_330]), BT709, source)
}

fn audio(name: &str, track: u32, channels: u32, language: &str, grid: Grid) -> Rendition {
    let source = AudioSource::Encode { bitrate: 128_000 };
    let kind =
        AudioRendition { track, rate: 48_000, channels, language: language.into(), label: Label::default(), source };
    rendition(name, "mp4a.40.2", 138_000, grid, RenditionKind::Audio(kind))
}

fn sound() -> Grid {
    grid(48_000, &[0, 48_128, 96_256, 288_768, 480_256, 529_408])
}

fn manifest_of(renditions: Vec<Rendition>) -> String {
    manifest(&Plan { renditions, ..Plan::default() }, &"0123456789abcdef".parse().unwrap())
}

/// The start tags, each as its name and attributes.
fn tags(manifest: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut reader = Reader::from_str(manifest);
    let mut tags = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) | Event::Empty(tag) => {
                let attributes = tag.attributes().map(|a| {
                    let a = a.unwrap();
                    (a.key.as_ref().to_owned(), quick_xml::escape::unescape(&a.value).unwrap().into_owned())
                });
                tags.push((tag.name().as_ref().to_owned(), attributes.collect()));
            }
            Event::Eof => return tags,
            _ => {}
        }
    }
}

fn values(manifest: &str, tag: &str, attribute: &str) -> Vec<String> {
    let of = |attributes: Vec<(String, String)>| attributes.into_iter().find(|(name, _)| name == attribute);
    tags(manifest).into_iter().filter(|(name, _)| name == tag).filter_map(|(_, a)| of(a)).map(|(_, v)| v).collect()
}

#[test]
fn a_manifest_lists_every_rendition_once_and_what_a_player_scrubs_with() {
    let made = manifest_of(vec![
        encoded("720p", 720),
        encoded("240p", 240),
        audio("audio-128k", 0, 2, "pt-BR", sound()),
        audio("audio-64k", 0, 2, "pt-BR", sound()),
    ]);
    let expected = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011,\
urn:mpeg:dash:profile:cmaf:2019\" type=\"static\" mediaPresentationDuration=\"PT11.011S\" \
maxSegmentDuration=\"PT11.011S\" minBufferTime=\"PT1S\">
 <Period id=\"0\" start=\"PT0S\">
  <AdaptationSet id=\"0\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\" \
maxWidth=\"1280\" maxHeight=\"720\">
   <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"main\"/>
   <SegmentTemplate timescale=\"30000\" initialization=\"0123456789abcdef/$RepresentationID$/init.mp4\" \
media=\"0123456789abcdef/$RepresentationID$/$Number$.m4s\" startNumber=\"0\">
    <SegmentTimeline>
     <S t=\"0\" d=\"30030\" r=\"1\"/>
     <S d=\"120120\" r=\"1\"/>
     <S d=\"30030\"/>
    </SegmentTimeline>
   </SegmentTemplate>
   <Representation id=\"720p\" bandwidth=\"720000\" codecs=\"avc1.64001F\" width=\"1280\" height=\"720\" sar=\"1:1\" \
frameRate=\"30000/1001\"/>
   <Representation id=\"240p\" bandwidth=\"240000\" codecs=\"avc1.64001F\" width=\"426\" height=\"240\" sar=\"1:1\" \
frameRate=\"15000/1001\"/>
  </AdaptationSet>
  <AdaptationSet id=\"1\" contentType=\"audio\" mimeType=\"audio/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\" \
lang=\"pt-BR\">
   <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"2\"/>
   <Label>pt-BR</Label>
   <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"main\"/>
   <SegmentTemplate timescale=\"48000\" initialization=\"0123456789abcdef/$RepresentationID$/init.mp4\" \
media=\"0123456789abcdef/$RepresentationID$/$Number$.m4s\" startNumber=\"0\">
    <SegmentTimeline>
     <S t=\"0\" d=\"48128\" r=\"1\"/>
     <S d=\"192512\"/>
     <S d=\"191488\"/>
     <S d=\"49152\"/>
    </SegmentTimeline>
   </SegmentTemplate>
   <Representation id=\"audio-128k\" bandwidth=\"138000\" codecs=\"mp4a.40.2\" audioSamplingRate=\"48000\"/>
   <Representation id=\"audio-64k\" bandwidth=\"138000\" codecs=\"mp4a.40.2\" audioSamplingRate=\"48000\"/>
  </AdaptationSet>
  <AdaptationSet id=\"2\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\" \
maxPlayoutRate=\"32\" codingDependency=\"false\">
   <EssentialProperty schemeIdUri=\"http://dashif.org/guidelines/trickmode\" value=\"0\"/>
   <Representation id=\"240p-iframe\" bandwidth=\"120000\" codecs=\"avc1.64001F\" width=\"426\" height=\"240\" \
sar=\"1:1\" frameRate=\"150000/330330\">
    <SegmentTemplate timescale=\"30000\" initialization=\"0123456789abcdef/240p/init.mp4\" media=\"0123456789abcdef/240p/iframe/$Number$.m4s\" \
startNumber=\"0\">
     <SegmentTimeline>
      <S t=\"0\" d=\"30030\" r=\"1\"/>
      <S d=\"120120\" r=\"1\"/>
      <S d=\"30030\"/>
     </SegmentTimeline>
    </SegmentTemplate>
   </Representation>
  </AdaptationSet>
  <AdaptationSet id=\"3\" contentType=\"image\" mimeType=\"image/jpeg\">
   <SegmentTemplate timescale=\"1000\" duration=\"20000\" media=\"0123456789abcdef/$RepresentationID$/$Number$.jpg\" startNumber=\"0\"/>
   <Representation id=\"thumbnails\" bandwidth=\"145059\" width=\"800\" height=\"180\">
    <EssentialProperty schemeIdUri=\"http://dashif.org/guidelines/thumbnail_tile\" value=\"5x2\"/>
   </Representation>
  </AdaptationSet>
 </Period>
</MPD>
";
    assert_eq!(made, expected);
}

#[test]
fn a_silent_title_has_no_sound_and_an_audio_title_no_pictures() {
    let silent = manifest_of(vec![encoded("720p", 720), encoded("480p", 480)]);
    assert_eq!(values(&silent, "AdaptationSet", "contentType"), ["video", "video", "image"]);
    assert_eq!(values(&silent, "Representation", "id"), ["720p", "480p", "480p-iframe", "thumbnails"]);
    let heard = manifest_of(vec![audio("audio-128k", 0, 1, "und", sound())]);
    assert_eq!(values(&heard, "AdaptationSet", "contentType"), ["audio"]);
    assert_eq!(values(&heard, "MPD", "mediaPresentationDuration"), ["PT11.029333333S"]);
    assert_eq!(values(&heard, "AudioChannelConfiguration", "value"), ["1"]);
}

#[test]
fn text_is_one_document_with_a_purpose_and_the_chosen_sound_is_main() {
    let text = |name: &str, track, forced, hearing_impaired| {
        let label = Label { title: Some("<Signs> & songs".into()), default: forced, forced, hearing_impaired };
        let kind = TextRendition { track, language: "de".into(), label };
        rendition(name, "wvtt", 1_000, sound(), RenditionKind::Text(kind))
    };
    let mut second = audio("second", 1, 2, "fr", sound());
    let RenditionKind::Audio(chosen) = &mut second.kind else { unreachable!() };
    chosen.label.default = true;
    let first = audio("first", 0, 2, "en", sound());
    let made = manifest_of(vec![first, second, text("text-0", 0, false, true), text("text-1", 1, true, false)]);
    assert_eq!(values(&made, "Role", "value"), ["alternate", "main", "caption", "forced-subtitle", "main"]);
    assert_eq!(values(&made, "AdaptationSet", "mimeType")[2..], ["text/vtt", "text/vtt"]);
    assert!(
        made.contains("<BaseURL>0123456789abcdef/text-0/all.vtt</BaseURL>")
            && made.contains("&lt;Signs&gt; &amp; songs"),
        "{made}"
    );
}

#[test]
fn what_cannot_be_switched_is_in_sets_of_its_own() {
    let short = grid(48_000, &[0, 48_128, 96_256, 288_768, 480_256, 520_192]);
    let other = grid(48_000, &[0, 192_512, 384_000, 520_192]);
    let made = manifest_of(vec![
        audio("stereo", 0, 2, "en", sound()),
        audio("ends-early", 0, 2, "en", short),
        audio("surround", 0, 6, "en", sound()),
        audio("cut-otherwise", 0, 2, "en", other),
        audio("second", 1, 8, "fr", sound()),
    ]);
    assert_eq!(values(&made, "AudioChannelConfiguration", "value"), ["2", "6", "2", "7"]);
    assert_eq!(values(&made, "Role", "value"), ["main", "main", "main", "alternate"]);
    let mut sets = Vec::<Vec<String>>::new();
    for (name, attributes) in tags(&made) {
        match name.as_str() {
            "AdaptationSet" => sets.push(Vec::new()),
            "Representation" => sets.last_mut().unwrap().push(attributes[0].1.clone()),
            _ => {}
        }
    }
    assert_eq!(sets, [vec!["stereo", "ends-early"], vec!["surround"], vec!["cut-otherwise"], vec!["second"]]);
    let first_set = made.split("</AdaptationSet>").next().unwrap();
    let first_set = &first_set[first_set.find("<AdaptationSet").unwrap()..];
    assert_eq!(values(first_set, "S", "d").iter().filter(|d| *d == "191488").count(), 2, "a timeline each");
}

#[test]
fn colours_that_are_not_assumed_are_described_and_high_range_is_essential() {
    let ticks = || grid(25, &[0, 200]);
    let source = || VideoSource::Passthrough { avcc: Vec::new(), buffer_ms: 2400 };
    let sd = Colour { primaries: 6, transfer: 6, matrix: 6, full_range: false };
    let pq = Colour { primaries: 9, transfer: 16, matrix: 9, full_range: false };
    let unknown = Colour { primaries: 2, transfer: 2, matrix: 2, full_range: false };
    let made = manifest_of(vec![
        video("source", 720, ticks(), pq, source()),
        video("720p", 720, ticks(), BT709, source()),
        video("480p", 480, ticks(), sd, source()),
        video("400p", 400, ticks(), unknown, source()),
    ]);
    assert_eq!(values(&made, "SupplementalProperty", "value"), ["6", "6", "6"]);
    assert_eq!(
        values(&made, "EssentialProperty", "value"),
        ["9", "16", "9", "0", "4x1"],
        "the trick mode's, and the tiles of thumbnails"
    );
    assert_eq!(values(&made, "Role", "value").len(), 2, "a set for each range");
    assert_eq!(values(&made, "MPD", "minBufferTime"), ["PT2.4S"], "what the untouched source needs");
}

#[test]
fn sound_that_outlasts_the_picture_prolongs_the_title_only_if_it_can_be_missed() {
    let with_sound_until = |at: u64| {
        let made = manifest_of(vec![encoded("720p", 720), audio("a", 0, 2, "und", grid(48_000, &[0, at]))]);
        values(&made, "MPD", "mediaPresentationDuration").remove(0)
    };
    assert_eq!(with_sound_until(500_000), "PT11.011S");
    assert_eq!(with_sound_until(529_408), "PT11.011S");
    assert_eq!(with_sound_until(576_000), "PT12S");
}

#[test]
fn a_hostile_language_is_no_language() {
    for (tag, expected) in
        [("x\"\n<Evil>", "und"), ("en-", "und"), ("12", "und"), ("ninechars", "und"), ("de-1996", "de-1996")]
    {
        let made = manifest_of(vec![audio("a", 0, 2, tag, sound())]);
        assert_eq!(values(&made, "AdaptationSet", "lang"), [expected], "{tag}");
        assert!(!made.contains("Evil"));
    }
}

proptest! {
    #[test]
    fn the_timeline_is_the_grid_and_every_number_has_its_segment(
        timescale in prop_oneof![Just(90_000_u32), Just(30_000), Just(48_000), 600..1_000_000_u32],
        first in 0..1_000_000_u64,
        ticks in prop::collection::vec(prop_oneof![Just(120_120_u64), 1..10_000_000_u64], 1..300),
    ) {
        let mut at = vec![first];
        for t in ticks {
            at.push(at.last().unwrap() + t);
        }
        let made = manifest_of(vec![audio("a", 0, 2, "und", grid(timescale, &at))]);
        prop_assert_eq!(values(&made, "SegmentTemplate", "timescale"), [timescale.to_string()]);
        prop_assert_eq!(values(&made, "SegmentTemplate", "startNumber"), ["0"]);
        let mut found = Vec::new();
        for (_, run) in tags(&made).into_iter().filter(|(name, _)| name == "S") {
            let number = |name: &str| run.iter().find(|(n, _)| n == name).map(|(_, v)| v.parse::<u64>().unwrap());
            prop_assert_eq!(number("t").is_some(), found.is_empty());
            found.extend(number("t"));
            for _ in 0..=number("r").unwrap_or(0) {
                found.push(found.last().unwrap() + number("d").unwrap());
            }
        }
        prop_assert_eq!(found, at);
    }
}

#[test]
fn a_title_of_a_few_seconds_has_no_single_pictures_to_scrub_through() {
    let sets_of = |seconds: u64| {
        let source = VideoSource::Encode { ceiling: 1, level: 31, min_frame_ticks: 0 };
        let made = manifest_of(vec![video("360p", 360, grid(90_000, &[0, seconds * 90_000]), BT709, source)]);
        values(&made, "AdaptationSet", "contentType")
    };
    assert_eq!(sets_of(5), ["video", "image"]);
    assert_eq!(sets_of(6), ["video", "video", "image"]);
}
