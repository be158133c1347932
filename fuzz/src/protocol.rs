//! What a worker may say, in whatever pieces it arrives. Holds: bytes are a message or an error and never a panic; a stream
//! is understood in the same way however it is cut; no prefix makes anyone allocate what does not come; and what was
//! understood is the same when it is said again.

use std::fmt::Debug;

use arbitrary::Unstructured;
use bytes::BytesMut;
use matinee::worker::protocol::{Event, FrameError, MAX_FRAME_BYTES, Request, frame, unframe};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a prefix.
const PREFIX: usize = 4;

/// Tries some bytes: how they are cut, then the stream.
pub fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let cuts: [u8; 4] = choices.arbitrary().unwrap_or_default();
    let stream = choices.take_rest();
    listen::<Event>(stream, cuts);
    listen::<Request>(stream, cuts);
    // As a body on its own, so that no prefix has to be right for what is inside to be tried.
    let prefix = u32::try_from(stream.len()).expect("inputs are short").to_be_bytes();
    let framed = [&prefix[..], stream].concat();
    listen::<Event>(&framed, cuts);
    listen::<Request>(&framed, cuts);
}

/// Hears a stream at once and in pieces.
fn listen<T: Serialize + DeserializeOwned + Debug>(stream: &[u8], cuts: [u8; 4]) {
    let whole = hear::<T>([stream].into_iter());
    let mut rest = stream;
    let pieces = cuts.iter().cycle().map_while(|cut| {
        let (piece, after) = rest.split_at(usize::from(*cut).saturating_add(1).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    });
    let (pieced, error) = hear::<T>(pieces);
    assert_eq!((format!("{:?}", whole.0), &whole.1), (format!("{pieced:?}"), &error), "heard otherwise in pieces");
    for message in &pieced {
        said_again(message);
    }
}

/// The messages of a stream until it cannot be read any further.
fn hear<'a, T: DeserializeOwned>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<T>, Option<FrameError>) {
    let (mut buffer, mut heard, mut came) = (BytesMut::new(), Vec::new(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        came += piece.len();
        loop {
            let before = buffer.len();
            match unframe::<T>(&mut buffer) {
                Ok(Some(message)) => heard.push(message),
                Ok(None) => {
                    assert_eq!(buffer.len(), before, "what is not complete waits");
                    break;
                }
                Err(error) => return (heard, Some(error)),
            }
            assert!(buffer.len() + PREFIX < before, "a message takes a prefix and a body");
        }
        // Some growth is usual; room for what a prefix promises is not.
        assert!(buffer.capacity() <= 4 * came + 4096, "{} bytes for {came}", buffer.capacity());
    }
    if let Some(prefix) = buffer.first_chunk::<PREFIX>() {
        assert!((1..=MAX_FRAME_BYTES).contains(&(u32::from_be_bytes(*prefix) as usize)), "waits for no frame");
    }
    (heard, None)
}

fn said_again<T: Serialize + DeserializeOwned + Debug>(message: &T) {
    let said = frame(message).expect("what came in a frame fits one");
    let mut buffer = BytesMut::from(&said[..]);
    let heard = unframe::<T>(&mut buffer).expect("what is said is understood").expect("as a whole");
    assert!(buffer.is_empty(), "nothing is left over");
    assert_eq!(format!("{heard:?}"), format!("{message:?}"));
    assert_eq!(frame(&heard).expect("as before"), said);
}
