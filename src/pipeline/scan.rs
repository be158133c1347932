//! Lets GStreamer look at a file: which tracks it has, what their caps are, and, where asked, every packet of them.
//!
//! `filesrc ! parsebin` finds demuxer and parsers by itself. Its pads end in appsinks; nothing is decoded here.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::Output;
use super::complaint::{explain, names_others, refusal, unreadable};
use super::found::{Found, MOST_PACKETS, Shared, add_sink};
use super::holdup::{Plugging, Rest};
use super::joins::joins;
use super::movie::Place;
use super::pcr::Clock;
use super::programs::Programs;
use super::silence::Silence;
use crate::media::{Join, Refusal, RefusalCode};

/// No file needs more looks to show its tracks, 20 seconds; a demuxer that loops is caught.
const OPEN_LOOKS: u32 = 4000;
/// A demuxer that neither reads nor gives anything for this many looks, 1.2 seconds, before its tracks are known will not do so
/// any more. (An error that an element posts while `parsebin` still plugs it in is lost, and some demuxers end without a word.)
const OPEN_SILENT_LOOKS: u32 = 240;
/// The same once packets flow, four seconds, where a busy host must not look like the end of the file.
const SILENT_LOOKS: u32 = 40;
/// How often it is looked whether all packets are known.
const READ_POLL: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// How often it is looked whether the tracks are known.
const OPEN_POLL: gst::ClockTime = gst::ClockTime::from_mseconds(5);
/// A demuxer that asks this often in a row for what lies past the end of the file will do nothing else any more, as that
/// of GIF does.
const ASKED_IN_VAIN: usize = 1000;
/// A track of unknown kind that shows nothing beside so many packets of others is one of events, now and then.
const SPARSE_AFTER: usize = 1_000;
/// How often progress is told, packets.
const PROGRESS_EVERY: usize = 2_000;

/// A file opened by the demuxer, its packets flowing.
pub struct Scan {
    pipeline: gst::Pipeline,
    shared: Arc<Mutex<Shared>>,
    /// Reads of the file so far.
    reads: Arc<AtomicUsize>,
    /// How often a read was asked for since the last that gave something.
    asked: Arc<AtomicUsize>,
    /// A read of what the file holds was asked for and has not been answered: the disk is slow, not the demuxer silent. Seen
    /// of demuxers that pull, which nearly all do.
    is_reading: Arc<AtomicBool>,
    rest: Arc<Rest>,
    /// How the file's clock references are changed, if they are.
    clock: Option<Clock>,
    /// See [`crate::media::Track::joins`].
    pub joins: Vec<Join>,
    /// An element has complained.
    has_failed: AtomicBool,
    /// Media type of the container.
    pub container: String,
}

impl Scan {
    /// Opens the file, waits until every track has shown a packet, and rests; [`Scan::to_end`] goes on.
    pub fn open(source: &Path, emit: &mut dyn FnMut(Output)) -> Result<Self, Refusal> {
        let joins = File::open(source).map_or_else(|_| Vec::new(), |file| joins(&file, emit));
        let scan = Self::start(source, None, joins)?;
        // What a track holds shows with its first packet, if its parser has to look for that.
        let is_sparse = |t: &Found, packets| t.caps.as_ref().map_or(packets > SPARSE_AFTER, |_| !t.is_media());
        let shown =
            |shared: &Shared| shared.tracks.iter().all(|t| !t.packets.is_empty() || is_sparse(t, shared.packets));
        scan.wait(|shared| shared.complete && shared.packets > 0 && shown(shared), emit)?;
        // Where the container has tables, nobody needs the rest: of an hour's film, all of it would be read for nothing.
        scan.rest.set(true);
        Ok(scan.named())
    }

    /// Opens the file for the packets of one track, which are taken from the sink returned; nothing flows past it
    /// until they are.
    pub fn open_track(source: &Path, stream_id: &str, joins: &[Join]) -> Result<(Self, gst_app::AppSink), Refusal> {
        let scan = Self::start(source, Some(stream_id.to_owned()), joins.to_vec())?;
        scan.wait(|shared| shared.tracks.iter().any(|t| t.stream_id == stream_id), &mut |_| ())?;
        let sink = scan.tracks().into_iter().find(|t| t.stream_id == stream_id).map(|t| t.sink);
        let gone = || refusal(RefusalCode::Damaged, format!("track {stream_id:?} is gone"));
        Ok((scan, sink.ok_or_else(gone)?))
    }

    fn start(source: &Path, wanted: Option<String>, joins: Vec<Join>) -> Result<Self, Refusal> {
        let failed = |e: gst::glib::BoolError| {
            refusal(RefusalCode::UnsupportedCodec, format!("GStreamer lacks an element: {e}"))
        };
        let pipeline = gst::Pipeline::new();
        let filesrc = gst::ElementFactory::make("filesrc").property("location", source).build().map_err(failed)?;
        let parsebin = gst::ElementFactory::make("parsebin").build().map_err(failed)?;
        pipeline.add_many([&filesrc, &parsebin]).map_err(failed)?;
        filesrc.link(&parsebin).map_err(failed)?;
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let for_all = wanted.is_none();
        let rest: Arc<Rest> = Arc::default();
        let (weak, found, rests) = (pipeline.downgrade(), Arc::clone(&shared), Arc::clone(&rest));
        parsebin.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = weak.upgrade() {
                add_sink(&pipeline, pad, &found, &rests, wanted.as_deref());
            }
        });
        let told = Arc::clone(&shared);
        parsebin.connect("autoplug-continue", false, move |values| {
            let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
            let why = caps.as_deref().and_then(names_others);
            let goes_on = why.is_none();
            if let (Some(why), Ok(mut told)) = (why, told.lock()) {
                told.complaint.get_or_insert(why);
            }
            Some(goes_on.into())
        });
        let seen = Arc::clone(&shared);
        let plugging = Arc::new(Plugging::default());
        let bin = parsebin.downcast_ref::<gst::Bin>();
        if let (Some(bin), Some(typefind)) = (bin, bin.and_then(|bin| bin.by_name("typefind"))) {
            let (begins, found) = (Arc::clone(&plugging), Arc::clone(&shared));
            bin.connect_element_added(move |_, element| {
                begins.begin();
                let found = Arc::clone(&found);
                element.connect_no_more_pads(move |_| {
                    if let Ok(mut shared) = found.lock() {
                        shared.complete = true;
                    }
                });
            });
            let ends = Arc::clone(&plugging);
            // After that of `parsebin`, which plugs, has returned.
            typefind.connect("have-type", true, move |values| {
                let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
                if let (Some(caps), Ok(mut seen)) = (caps, seen.lock()) {
                    seen.container = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
                }
                // Only now, so that whoever has a packet also has the name.
                ends.end();
                None
            });
        }
        let is_reading: Arc<AtomicBool> = Arc::default();
        let (told, over) = (Arc::clone(&shared), Arc::clone(&is_reading));
        pipeline.bus().expect("a pipeline has a bus").set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(error) = message.view() {
                // A read that fails ends with no more than this.
                over.store(false, Ordering::Relaxed);
                if let (true, Ok(mut told)) = (for_all, told.lock())
                    && told.packets == 0
                {
                    told.complaint.get_or_insert_with(|| explain(error));
                }
            }
            gst::BusSyncReply::Pass
        });
        let (reads, asked): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let file = File::open(source).ok();
        let clock = file.as_ref().and_then(|file| Clock::of(file, &joins));
        let duration = file.as_ref().and_then(Place::of);
        let programs = file.as_ref().and_then(Programs::of).filter(Programs::is_changed);
        let again = file.as_ref().and_then(|file| file.try_clone().ok());
        if let Some(pad) = filesrc.static_pad("src") {
            let (counted, given, over) = (Arc::clone(&reads), Arc::clone(&asked), Arc::clone(&is_reading));
            let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::PUSH | gst::PadProbeType::PULL;
            let _ = pad.add_probe(mask, move |_, _| {
                counted.fetch_add(1, Ordering::Relaxed);
                given.store(0, Ordering::Relaxed);
                over.store(false, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
            if let Some(duration) = duration {
                on_its_way(&pad, move |offset, piece| duration.hide(offset, piece));
            }
            if let (Some(clock), Some(file)) = (clock.clone(), file) {
                on_its_way(&pad, move |offset, piece| clock.change(offset, piece, &file));
            }
            // Behind the clock, which looks up in the file what a piece cuts.
            if let (Some(programs), Some(file)) = (programs, again) {
                on_its_way(&pad, move |offset, piece| programs.change(offset, piece, &file));
            }
            let (asking, begins) = (Arc::clone(&asked), Arc::clone(&is_reading));
            let length = std::fs::metadata(source).map_or(0, |file| file.len());
            let _ = pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::PULL, move |_, info| {
                asking.fetch_add(1, Ordering::Relaxed);
                plugging.wait();
                // What lies past the end is not read, and nobody says so.
                begins.store(info.offset < length, Ordering::Relaxed);
                gst::PadProbeReturn::Pass
            });
        }
        let has_failed = AtomicBool::new(false);
        let container = String::new();
        let scan = Self { pipeline, shared, reads, asked, is_reading, rest, clock, joins, has_failed, container };
        let _ = scan.pipeline.set_state(gst::State::Playing);
        Ok(scan)
    }

    fn named(mut self) -> Self {
        let container = self.lock().container.clone();
        self.container = container;
        self
    }

    /// Media type of the container, as soon as there are tracks.
    pub fn container(&self) -> String {
        self.lock().container.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no panic while held")
    }

    /// Waits until enough is known, the file ends, or the demuxer gives up on it.
    fn wait(&self, enough: impl Fn(&Shared) -> bool, emit: &mut dyn FnMut(Output)) -> Result<(), Refusal> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let (mut looks, mut idle, mut silence) = (0, 0, Silence::new(self.activity()));
        while looks < OPEN_LOOKS {
            if let Some(complaint) = self.lock().complaint.clone() {
                return Err(complaint);
            }
            // Looked at before the tracks are: what a thread did before it stopped is seen.
            let is_over = self.has_failed.load(Ordering::Relaxed) && self.is_still();
            if enough(&self.lock()) {
                return Ok(());
            }
            if is_over || self.asks_in_vain() || idle > OPEN_SILENT_LOOKS {
                break;
            }
            // How long a read may take is for the watchdog to say, which sees whether the disk is to blame.
            let is_reading = self.is_reading.load(Ordering::Relaxed);
            if !is_reading {
                emit(Output::Progress(0));
                looks += 1;
            }
            let kinds = [gst::MessageType::Error, gst::MessageType::Eos];
            match bus.timed_pop_filtered(OPEN_POLL, &kinds).map(|m| m.type_()) {
                // Whatever one element complains of, others may go on.
                Some(gst::MessageType::Error) => self.has_failed.store(true, Ordering::Relaxed),
                Some(_) => return self.lock().complaint.clone().map_or(Ok(()), Err),
                None => idle = silence.look(self.activity(), is_reading),
            }
        }
        let shared = self.lock();
        match &shared.complaint {
            Some(complaint) => Err(complaint.clone()),
            // What was read before the damage may be a title too.
            None if shared.packets > 0 || enough(&shared) => Ok(()),
            None => Err(unreadable()),
        }
    }

    /// No thread moves data any more. One that waits for room moves some when there is.
    fn is_still(&self) -> bool {
        let pads = |element: gst::Element| element.pads();
        let has_task = |pad: gst::Pad| pad.task_state() == gst::TaskState::Started;
        // What changes while it is looked at (`IteratorError::Resync`) is not still.
        !self.pipeline.iterate_recurse().into_iter().any(|element| match element {
            Ok(element) => pads(element).into_iter().any(has_task),
            Err(_) => true,
        })
    }

    /// The demuxer goes round at the end of the file.
    fn asks_in_vain(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > ASKED_IN_VAIN
    }

    fn activity(&self) -> (usize, usize) {
        (self.reads.load(Ordering::Relaxed), self.lock().packets)
    }

    /// The next sample of a sink of [`Scan::open_track`]; `None` at the end, if the demuxer has fallen silent, or if
    /// nobody wants it any more.
    pub fn pull(&self, sink: &gst_app::AppSink, unwanted: &AtomicBool) -> Option<gst::Sample> {
        let mut silence = Silence::new(self.activity());
        while !unwanted.load(Ordering::Relaxed) {
            if let Some(sample) = sink.try_pull_sample(READ_POLL) {
                return Some(sample);
            }
            let looks = silence.look(self.activity(), self.is_reading.load(Ordering::Relaxed));
            if sink.is_eos() || self.asks_in_vain() || looks > SILENT_LOOKS {
                break;
            }
        }
        None
    }

    /// The tracks found, with the packets seen so far.
    pub fn tracks(&self) -> Vec<Found> {
        self.lock().tracks.clone()
    }

    /// Reads the whole file and returns its tracks with all their packets.
    pub fn to_end(&self, emit: &mut dyn FnMut(Output)) -> Result<Vec<Found>, Refusal> {
        self.rest.set(false);
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let (mut told, mut idle, mut silence) = (0, 0, Silence::new(self.activity()));
        loop {
            let kinds = [gst::MessageType::Error, gst::MessageType::Eos];
            let message = bus.timed_pop_filtered(READ_POLL, &kinds);
            if message.is_none() {
                idle = silence.look(self.activity(), self.is_reading.load(Ordering::Relaxed));
            }
            let said_end = message.as_ref().is_some_and(|m| m.type_() == gst::MessageType::Eos);
            if message.is_some_and(|m| m.type_() == gst::MessageType::Error) {
                self.has_failed.store(true, Ordering::Relaxed);
            }
            // Whatever one element complained of, others may go on.
            let is_over = said_end || (self.has_failed.load(Ordering::Relaxed) && self.is_still());
            let count = self.lock().packets;
            if count > MOST_PACKETS {
                return Err(refusal(RefusalCode::TooLarge, format!("the file has more than {MOST_PACKETS} packets")));
            }
            if count >= told + PROGRESS_EVERY {
                told = count;
                emit(Output::Progress(0));
            }
            let ended = self.lock().tracks.iter().all(|t| t.sink.is_eos());
            if is_over || ended || self.asks_in_vain() || idle > SILENT_LOOKS {
                // Of a long film the packets are hundreds of megabytes: they are not copied.
                let mut shared = self.lock();
                let taken = |t: &mut Found| Found { packets: std::mem::take(&mut t.packets), ..t.clone() };
                return Ok(shared.tracks.iter_mut().map(taken).collect());
            }
        }
    }

    /// Goes to the last key frame at or before a stream time.
    pub fn seek(&self, to: gst::ClockTime) -> Result<(), super::Error> {
        let to = self.clock.as_ref().map_or(to, |clock| gst::ClockTime::from_nseconds(clock.seek_time(to.nseconds())));
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        self.pipeline.seek_simple(flags, to).map_err(|e| super::Error::Failed(format!("seek to {to}: {e}")))
    }
}

/// Changes what is read of a file before the demuxer sees it.
fn on_its_way(pad: &gst::Pad, change: impl Fn(u64, &mut [u8]) + Send + Sync + 'static) {
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::PUSH | gst::PadProbeType::PULL;
    let _ = pad.add_probe(mask, move |_, info| {
        let offset = info.offset;
        if let Some(mut piece) = info.buffer_mut().and_then(|b| b.make_mut().map_writable().ok()) {
            change(offset, &mut piece);
        }
        gst::PadProbeReturn::Ok
    });
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.rest.set(false);
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
