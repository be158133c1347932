//! Which units of an H.264 access unit go into a segment.

use std::ops::Range;

use super::keys::unescaped;

/// Before each unit.
const LENGTH_BYTES: usize = 4;
/// Supplemental enhancement information.
const SEI: u8 = 6;
/// Begins the payload of a message of closed captions: `user_data_registered_itu_t_t35` of the ATSC, with `cc_data` (ATSC A/53
/// Part 4 §6.2.3).
const CAPTIONS: [u8; 8] = [0xB5, 0x00, 0x31, b'G', b'A', b'9', b'4', 3];
/// `payloadType` of `user_data_registered_itu_t_t35` (Rec. ITU-T H.264 §D.1.6).
const REGISTERED: u32 = 4;
/// `rbsp_trailing_bits` of whole bytes.
const TRAILING: u8 = 0x80;

/// An access unit without what has no place in a segment: parameter sets, which live in the init segment of an `avc1`;
/// delimiters; and captions, which a source has in one rendition or in all and of which the playlist says that there are none.
pub(super) fn fit(data: Vec<u8>) -> Vec<u8> {
    let units = || {
        let mut at = 0;
        std::iter::from_fn(move || Some(at)).map_while({
            let data = &data;
            move |_| {
                let length = u32::from_be_bytes(data.get(at..at + LENGTH_BYTES)?.try_into().ok()?) as usize;
                let unit = at..at + LENGTH_BYTES + length;
                at = unit.end;
                data.get(unit.clone()).map(|_| unit)
            }
        })
    };
    let kind = |unit: &Range<usize>| data.get(unit.start + LENGTH_BYTES).map_or(0, |byte| byte & 31);
    if !units().any(|unit| matches!(kind(&unit), SEI..=9)) {
        return data;
    }
    let mut fit = Vec::with_capacity(data.len());
    for unit in units() {
        let whole = &data[unit.clone()];
        match kind(&unit) {
            7..=9 => {}
            SEI => match without_captions(&whole[LENGTH_BYTES..]) {
                None => fit.extend_from_slice(whole),
                Some(rest) if rest.is_empty() => {}
                Some(rest) => {
                    fit.extend_from_slice(&u32::try_from(rest.len()).expect("less than it was").to_be_bytes());
                    fit.extend_from_slice(&rest);
                }
            },
            _ => fit.extend_from_slice(whole),
        }
    }
    fit
}

/// What is left of a unit of SEI, nothing if all of it is captions. `None` if it has none.
fn without_captions(unit: &[u8]) -> Option<Vec<u8>> {
    let raw = unescaped(unit);
    let (mut at, mut has_captions) = (1, false);
    let mut kept = vec![*raw.first()?];
    while raw.get(at..).is_some_and(|rest| rest.len() > 1) {
        let start = at;
        let (kind, size) = (number(&raw, &mut at)?, number(&raw, &mut at)?);
        let payload = raw.get(at..at + size as usize)?;
        at += payload.len();
        if kind == REGISTERED && payload.starts_with(&CAPTIONS) {
            has_captions = true;
        } else {
            kept.extend_from_slice(&raw[start..at]);
        }
    }
    if kept.len() == 1 {
        kept.clear();
    } else {
        kept.push(TRAILING);
    }
    has_captions.then(|| escaped(&kept))
}

/// A number in as many bytes as it takes (`ff_byte`, Rec. ITU-T H.264 §7.3.2.3.1).
fn number(raw: &[u8], at: &mut usize) -> Option<u32> {
    let mut number = 0_u32;
    loop {
        let byte = *raw.get(*at)?;
        *at += 1;
        number = number.checked_add(byte.into())?;
        if byte != 0xFF {
            return Some(number);
        }
    }
}

/// With what keeps a start code from being seen inside a unit (Rec. ITU-T H.264 §7.4.1).
fn escaped(raw: &[u8]) -> Vec<u8> {
    let (mut unit, mut zeros) = (Vec::with_capacity(raw.len()), 0);
    for &byte in raw {
        if zeros == 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        unit.push(byte);
    }
    unit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&u32::try_from(unit.len()).unwrap().to_be_bytes(), *unit].concat()).collect()
    }

    fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[kind, u8::try_from(payload.len()).unwrap()], payload].concat()
    }

    fn sei(messages: &[Vec<u8>]) -> Vec<u8> {
        escaped(&[&[SEI], messages.concat().as_slice(), &[TRAILING]].concat())
    }

    #[test]
    fn parameter_sets_and_delimiters_go_and_pictures_stay() {
        let slice: &[u8] = &[0x65, 1, 2, 3];
        assert_eq!(fit(of(&[&[9, 16], &[0x67, 1], &[0x68, 2], slice])), of(&[slice]));
        assert_eq!(fit(of(&[slice, &[0x41]])), of(&[slice, &[0x41]]));
        // A last unit that is cut is none.
        assert_eq!(fit([of(&[&[9, 16], slice]), vec![0, 0, 0, 9, 1]].concat()), of(&[slice]));
    }

    #[test]
    fn captions_go_and_other_information_stays_byte_for_byte() {
        let captions = message(4, &[&CAPTIONS[..], &[0xC1, 0xFF, 0xFC, 0, 0, 1, 0xFF]].concat());
        let (active, point) = (message(4, b"\xB5\x00\x31DTG1\x41\x48"), message(6, &[0, 0, 1]));
        let slice: &[u8] = &[0x65, 1];
        assert_eq!(fit(of(&[&sei(std::slice::from_ref(&captions)), slice])), of(&[slice]));
        for others in [[active.clone(), point.clone()], [point, active]] {
            let without = of(&[&sei(&others), slice]);
            assert_eq!(fit(without.clone()), without);
            let [one, other] = others;
            assert_eq!(fit(of(&[&sei(&[one, captions.clone(), other]), slice])), without);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_no_caption_is_left(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let unit = [&[SEI], bytes.as_slice()].concat();
            prop_assert_eq!(fit(of(&[&unit])), of(&[&unit]));
        }

        #[test]
        fn what_is_escaped_is_read_again(raw in proptest::collection::vec(0..5_u8, 0..40)) {
            let unit = escaped(&raw);
            prop_assert!(!unit.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3));
            prop_assert_eq!(unescaped(&unit), raw);
        }
    }
}
