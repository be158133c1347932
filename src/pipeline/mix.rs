//! From the channels a decoder gives to those of a rendition.
//!
//! Stereo from more: centre and surround at -3 dB, no low-frequency effects, as Rec. ITU-R BS.775-3 table 2 has it, and the
//! whole made so much quieter that the loudest possible input does not clip. The arithmetic is a fixed sum per sample,
//! the same for every segment.

/// -3 dB.
const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Where a channel's loudspeaker stands, by its bit in GStreamer's channel mask (`GstAudioChannelPosition`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Left,
    Right,
    Centre,
    Low,
    BackLeft,
    BackRight,
    BackCentre,
    SideLeft,
    SideRight,
    /// Wide, high and low loudspeakers, by their side.
    Other(Side),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Middle,
}

/// What each output channel takes of each input channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    inputs: usize,
    /// One row for each output channel.
    rows: Vec<Vec<f32>>,
}

/// The channel mask of a rendition: mono has none, 5.1 has its surround loudspeakers at the back.
pub fn mask(channels: u32) -> Option<u64> {
    match channels {
        2 => Some(0x03),
        6 => Some(0x3f),
        _ => None,
    }
}

impl Mix {
    /// From `inputs` channels with this mask, 0 if unknown, to one, two or six (5.1).
    pub fn new(inputs: usize, mask: u64, outputs: u32) -> Self {
        let places = places(inputs, mask);
        if inputs == outputs as usize && (inputs <= 2 || places == places_of(0x3f)) {
            return Self {
                inputs,
                rows: (0..inputs).map(|o| (0..inputs).map(|i| f32::from(o == i)).collect()).collect(),
            };
        }
        if inputs == 1 && outputs == 2 {
            return Self { inputs, rows: vec![vec![1.0]; 2] };
        }
        let gain = match outputs {
            6 => surround,
            2 => stereo,
            _ => mono,
        };
        let mut rows: Vec<Vec<f32>> =
            (0..outputs as usize).map(|o| places.iter().map(|p| gain(*p, o)).collect()).collect();
        // One factor for all, or the image would tilt.
        let loudest = rows.iter().map(|row| row.iter().sum::<f32>()).fold(1.0, f32::max);
        rows.iter_mut().flatten().for_each(|gain| *gain /= loudest);
        Self { inputs, rows }
    }

    /// Mixes interleaved samples.
    pub fn apply(&self, samples: &[f32]) -> Vec<f32> {
        let mixed = |frame: &[f32]| {
            let row = |row: &Vec<f32>| row.iter().zip(frame).fold(0.0, |sum, (gain, sample)| sum + gain * sample);
            self.rows.iter().map(row).collect::<Vec<f32>>()
        };
        samples.chunks_exact(self.inputs.max(1)).flat_map(mixed).collect()
    }
}

fn places_of(mask: u64) -> Vec<Place> {
    (0..64).filter(|bit| mask >> bit & 1 == 1).map(place).collect()
}

/// The places of so many channels; where the mask does not tell, those that such a number usually has.
fn places(channels: usize, mask: u64) -> Vec<Place> {
    let told = places_of(mask);
    if told.len() == channels {
        return told;
    }
    let usual = match channels {
        1 => 0x4,
        2 => 0x3,
        3 => 0x7,
        4 => 0x107,
        5 => 0x37,
        6 => 0x3f,
        7 => 0x13f,
        8 => 0xc3f,
        _ => 0,
    };
    let mut places = places_of(usual);
    places.resize(channels, Place::Other(Side::Middle));
    places
}

fn place(bit: u32) -> Place {
    match bit {
        0 => Place::Left,
        1 => Place::Right,
        2 => Place::Centre,
        3 | 9 => Place::Low,
        4 => Place::BackLeft,
        5 => Place::BackRight,
        8 => Place::BackCentre,
        10 => Place::SideLeft,
        11 => Place::SideRight,
        6 | 12 | 16 | 18 | 22 | 24 | 26 => Place::Other(Side::Left),
        7 | 13 | 17 | 19 | 23 | 25 | 27 => Place::Other(Side::Right),
        _ => Place::Other(Side::Middle),
    }
}

fn stereo(place: Place, output: usize) -> f32 {
    let left = output == 0;
    match place {
        Place::Left => f32::from(left),
        Place::Right => f32::from(!left),
        Place::Centre => HALF_POWER,
        Place::Low => 0.0,
        Place::BackLeft | Place::SideLeft | Place::Other(Side::Left) => HALF_POWER * f32::from(left),
        Place::BackRight | Place::SideRight | Place::Other(Side::Right) => HALF_POWER * f32::from(!left),
        Place::BackCentre | Place::Other(Side::Middle) => 0.5,
    }
}

fn mono(place: Place, _: usize) -> f32 {
    stereo(place, 0) + stereo(place, 1)
}

/// Front left and right, centre, low, back left and right.
fn surround(place: Place, output: usize) -> f32 {
    let own = |wanted: usize| f32::from(output == wanted);
    match place {
        Place::Left => own(0),
        Place::Right => own(1),
        Place::Centre => own(2),
        Place::Low => own(3),
        Place::BackLeft | Place::SideLeft => own(4),
        Place::BackRight | Place::SideRight => own(5),
        Place::BackCentre => HALF_POWER * (own(4) + own(5)),
        Place::Other(Side::Left) => HALF_POWER * own(0),
        Place::Other(Side::Right) => HALF_POWER * own(1),
        Place::Other(Side::Middle) => HALF_POWER * own(2),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stereo_takes_centre_and_surround_at_half_power_and_nothing_of_the_low_channel() {
        let mix = Mix::new(6, 0xc0f, 2);
        let whole = 1.0 + 2.0 * HALF_POWER;
        let expected = [1.0, 0.0, HALF_POWER, 0.0, HALF_POWER, 0.0].map(|g| g / whole);
        assert_eq!(mix.rows[0], expected);
        assert_eq!(mix.rows[1], [0.0, 1.0, HALF_POWER, 0.0, 0.0, HALF_POWER].map(|g| g / whole));
    }

    #[test]
    fn what_has_the_right_channels_is_not_touched() {
        let samples = [0.1, -0.2, 0.3, -0.4, 0.5, -0.6];
        assert_eq!(Mix::new(6, 0x3f, 6).apply(&samples), samples);
        assert_eq!(Mix::new(6, 0xc0f, 6).apply(&samples), samples, "surround at the sides goes to the back");
        assert_eq!(Mix::new(2, 3, 2).apply(&samples), samples);
        assert_eq!(Mix::new(1, 0, 1).apply(&samples), samples);
        assert_eq!(Mix::new(1, 0, 2).apply(&[0.5]), [0.5, 0.5]);
    }

    /// Some that are high, low or wide were heard from the other side.
    #[test]
    fn every_loudspeaker_is_heard_from_its_side() {
        gst::init().unwrap();
        // Making an element of sound makes the names of the bits known.
        let _registers = gst::ElementFactory::make("interleave").build().unwrap();
        let positions = gst::glib::Type::from_name("GstAudioChannelPosition").unwrap();
        let positions = gst::glib::EnumClass::with_type(positions).unwrap();
        let positions = positions.values().iter().filter_map(|v| Some((u32::try_from(v.value()).ok()?, v.nick())));
        let mut known = 0;
        for (bit, name) in positions {
            let is_heard = [0, 1].map(|output| stereo(place(bit), output) > 0.0);
            let is_low = name.starts_with("lfe");
            let expected = [!is_low && !name.contains("right"), !is_low && !name.contains("left")];
            assert_eq!(is_heard, expected, "{name}");
            known += 1;
        }
        assert!(known >= 28, "{known}");
    }

    proptest! {
        #[test]
        fn no_input_clips(inputs in 1..16_usize, mask: u64, outputs in prop_oneof![Just(1_u32), Just(2), Just(6)]) {
            let loud = Mix::new(inputs, mask, outputs).apply(&vec![1.0; inputs]);
            prop_assert_eq!(loud.len(), outputs as usize);
            prop_assert!(loud.iter().all(|s| *s <= 1.0001), "{:?}", loud);
        }
    }
}
