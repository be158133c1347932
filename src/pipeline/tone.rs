//! HDR and wide colours as BT.709: the light a PQ or HLG picture stands for, its highlights rolled off instead of clipped,
//! its colours drawn into the smaller gamut. The formulas make a table once; pictures go through the table in whole
//! numbers, each pixel by itself, so that threads cannot change a byte.

use super::Error;
use crate::media::{Colour, VideoRange};

/// Luminance of diffuse white in an HDR picture (ITU-R BT.2408 §2.1), which is where SDR ends; cd/m².
const WHITE_NITS: f64 = 203.0;
/// Peak of an HDR picture that does not say, and of HLG's nominal display; cd/m².
const NOMINAL_NITS: u32 = 1000;
/// Most that PQ can say, cd/m².
const PQ_NITS: u32 = 10_000;
/// Exponent of a standard display (ITU-R BT.1886).
const DISPLAY_GAMMA: f64 = 2.4;
/// Saturation from which colours are drawn in; 1 is BT.709's edge. Below, nothing changes.
const SOFT_FROM: f64 = 0.9;

/// Nodes of the table: every 16 of 1024 codes. The neutral 512 is a node, so that grey stays grey. With half as many for
/// chroma, saturated colours are off by twice as much.
const LUMA_BITS: u32 = 4;
const CHROMA_BITS: u32 = 4;
const LUMA_NODES: usize = (1024 >> LUMA_BITS) + 1;
const CHROMA_NODES: usize = (1024 >> CHROMA_BITS) + 1;
/// The table holds 8-bit codes in units of 1/64.
const FRACTION_BITS: u32 = 6;
/// Bits below the code once all weights are applied.
const SHIFT: u32 = LUMA_BITS + 2 * CHROMA_BITS + FRACTION_BITS;
/// Steps of the roll-off's own table.
const CURVE_STEPS: u32 = 4096;
/// Threads a picture is shared among.
const THREADS: usize = 2;

/// What pictures are mapped from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From {
    range: VideoRange,
    primaries: u8,
    /// Brightest light, cd/m².
    peak_nits: u32,
}

/// Mapping for 4:2:0 pictures: 10-bit limited-range Y'CbCr of BT.2020's matrix in, 8-bit of BT.709 out.
#[derive(Debug)]
pub struct Tone {
    /// By blue chroma, red chroma, luma.
    luma: Vec<u16>,
    chroma: Vec<[u16; 2]>,
}

/// Three planes with their strides in bytes.
pub struct Planes<T> {
    /// Luma, blue chroma, red chroma.
    pub data: [T; 3],
    /// See `data`.
    pub strides: [usize; 3],
}

impl From {
    /// How pictures of this colour are mapped; `None` if they are BT.709's or BT.601's own.
    pub fn of(colour: Colour, peak_nits: Option<u32>) -> Option<Self> {
        let range = colour.range();
        let peak_nits = match range {
            VideoRange::Pq => peak_nits.unwrap_or(NOMINAL_NITS).clamp(1, PQ_NITS),
            VideoRange::Hlg | VideoRange::Sdr => NOMINAL_NITS,
        };
        let mapped = range != VideoRange::Sdr || colour.is_wide();
        mapped.then_some(Self { range, primaries: colour.primaries, peak_nits })
    }

    /// R'G'B' of the source to R'G'B' of BT.709, both 0 to 1.
    fn map(&self, curve: &Curve, signal: [f64; 3]) -> [f64; 3] {
        let signal = signal.map(|s| s.clamp(-1.0, 1.0));
        let light = match self.range {
            VideoRange::Pq => curve.roll_off(signal.map(|s| odd(s, pq_light) / WHITE_NITS)),
            VideoRange::Hlg => curve.roll_off(hlg_light(signal).map(|l| l / WHITE_NITS)),
            VideoRange::Sdr => signal.map(|s| odd(s, |s| s.powf(DISPLAY_GAMMA))),
        };
        into_gamut(self.to_709(light)).map(|l| l.clamp(0.0, 1.0).powf(1.0 / DISPLAY_GAMMA))
    }

    /// The EETF of ITU-R BT.2390 §5.4.1, from the source's peak to white: a straight line in PQ up to a knee, then a
    /// Hermite spline.
    fn bend(&self, light: f64) -> f64 {
        let peak = pq_signal(f64::from(self.peak_nits));
        let most = pq_signal(WHITE_NITS) / peak;
        if most >= 1.0 {
            return light.min(1.0);
        }
        let knee = 1.5 * most - 0.5;
        let signal = (pq_signal(light * WHITE_NITS) / peak).min(1.0);
        if signal <= knee {
            return light;
        }
        let t = (signal - knee) / (1.0 - knee);
        let (t2, t3) = (t * t, t * t * t);
        let bent =
            (2.0 * t3 - 3.0 * t2 + 1.0) * knee + (t3 - 2.0 * t2 + t) * (1.0 - knee) + (3.0 * t2 - 2.0 * t3) * most;
        pq_light(bent * peak) / WHITE_NITS
    }

    /// Linear light by the primaries of BT.709 (ITU-R BT.2087 annex 2; Display P3 likewise, by SMPTE EG 432-1).
    fn to_709(self, [r, g, b]: [f64; 3]) -> [f64; 3] {
        let rows = match self.primaries {
            9 => [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
            11 | 12 => [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]],
            _ => [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        };
        rows.map(|[kr, kg, kb]| kr * r + kg * g + kb * b)
    }
}

/// [`From::bend`] by a table, because its powers are slow: values at fourth powers, which are dense where it is dark.
struct Curve {
    values: Vec<f64>,
    span: f64,
}

impl Curve {
    fn of(from: &From) -> Self {
        let span = f64::from(from.peak_nits).max(WHITE_NITS) / WHITE_NITS;
        let light = |n: u32| span * (f64::from(n) / f64::from(CURVE_STEPS)).powi(4);
        Self { values: (0..=CURVE_STEPS).map(|n| from.bend(light(n))).collect(), span }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the number of steps")]
    fn bend(&self, light: f64) -> f64 {
        let place = (light / self.span).clamp(0.0, 1.0).sqrt().sqrt() * f64::from(CURVE_STEPS);
        let below = (place as usize).min(self.values.len() - 2);
        let part = place - f64::from(u32::try_from(below).unwrap_or(CURVE_STEPS));
        self.values[below] + (self.values[below + 1] - self.values[below]) * part
    }

    /// Light relative to white, down to at most 1. Half of it keeps the ratio of the colours, and so the hue; the other
    /// half bends each by itself, so that what is very bright also becomes paler, as eyes and film expect.
    fn roll_off(&self, light: [f64; 3]) -> [f64; 3] {
        let brightest = light.into_iter().fold(0.0, f64::max);
        if brightest <= 0.0 {
            return [0.0; 3];
        }
        let gain = self.bend(brightest) / brightest;
        light.map(|l| (l * gain + odd(l, |l| self.bend(l))) / 2.0)
    }
}

/// Draws colours that BT.709 lacks towards grey of the same luminance: gently from a little inside its edge on.
fn into_gamut(light: [f64; 3]) -> [f64; 3] {
    let [r, g, b] = light;
    let grey = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    if grey <= 0.0 {
        return [0.0; 3];
    }
    let least = r.min(g).min(b);
    let saturation = (grey - least) / grey;
    let beyond = (saturation - SOFT_FROM) / (1.0 - SOFT_FROM);
    let kept = if beyond > 0.0 { SOFT_FROM + (1.0 - SOFT_FROM) * beyond / (1.0 + beyond) } else { saturation };
    let share = if saturation > 0.0 { kept / saturation } else { 1.0 };
    let most = grey + (r.max(g).max(b) - grey) * share;
    let share = if most > 1.0 { share * (1.0 - grey).max(0.0) / (most - grey) } else { share };
    light.map(|l| grey + (l - grey) * share)
}

/// A curve that is drawn on below zero, point-symmetrically. No colour has such a part, but nodes of the table beside real
/// colours do, and a kink there would bend what is interpolated between them.
fn odd(value: f64, curve: impl Fn(f64) -> f64) -> f64 {
    curve(value.abs()).copysign(value)
}

/// SMPTE ST 2084: light in cd/m² of a signal from 0 to 1.
fn pq_light(signal: f64) -> f64 {
    let root = signal.max(0.0).powf(1.0 / PQ[1]);
    10_000.0 * ((root - PQ[2]).max(0.0) / (PQ[3] - PQ[4] * root)).powf(1.0 / PQ[0])
}

/// The reverse of [`pq_light`].
fn pq_signal(nits: f64) -> f64 {
    let power = (nits.max(0.0) / 10_000.0).powf(PQ[0]);
    ((PQ[2] + PQ[3] * power) / (1.0 + PQ[4] * power)).powf(PQ[1])
}

/// m1, m2, c1, c2, c3 of ST 2084.
const PQ: [f64; 5] = [2610.0 / 16_384.0, 2523.0 / 32.0, 3424.0 / 4096.0, 2413.0 / 128.0, 2392.0 / 128.0];

/// ITU-R BT.2100 table 5: light in cd/m² on a display of [`NOMINAL_NITS`], for which the system gamma is 1.2.
fn hlg_light(signal: [f64; 3]) -> [f64; 3] {
    const A: f64 = 0.178_832_77;
    const B: f64 = 1.0 - 4.0 * A;
    const C: f64 = 0.559_910_73;
    let scene = signal.map(|s| odd(s, |s| if s <= 0.5 { s * s / 3.0 } else { (((s - C) / A).exp() + B) / 12.0 }));
    let luminance = (0.2627 * scene[0] + 0.6780 * scene[1] + 0.0593 * scene[2]).max(0.0);
    scene.map(|s| f64::from(NOMINAL_NITS) * luminance.powf(0.2) * s)
}

/// R'G'B' of 10-bit limited-range Y'CbCr by BT.2020's matrix.
fn signal_of(y: usize, cb: usize, cr: usize) -> [f64; 3] {
    let code = |code: usize| f64::from(u32::try_from(code).unwrap_or(u32::MAX));
    let (y, cb, cr) = ((code(y) - 64.0) / 876.0, (code(cb) - 512.0) / 896.0, (code(cr) - 512.0) / 896.0);
    let (r, b) = (y + 1.4746 * cr, y + 1.8814 * cb);
    [r, (y - 0.2627 * r - 0.0593 * b) / 0.6780, b]
}

/// 8-bit limited-range Y'CbCr by BT.709's matrix, in units of the table.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 240 times 64")]
fn codes_of([r, g, b]: [f64; 3]) -> [u16; 3] {
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let codes = [16.0 + 219.0 * y, 128.0 + 224.0 * (b - y) / 1.8556, 128.0 + 224.0 * (r - y) / 1.5748];
    codes.map(|code| (code * f64::from(1 << FRACTION_BITS)).round() as u16)
}

/// What the formulas make of some colours here: hosts whose arithmetic differs must not publish the same URLs.
pub fn fingerprint() -> Vec<u8> {
    let kinds = [(VideoRange::Pq, 9), (VideoRange::Hlg, 9), (VideoRange::Sdr, 12)];
    let colours = (0..6_usize.pow(3)).map(|n| (64 + n % 6 * 170, 160 + n / 6 % 6 * 140, 160 + n / 36 * 140));
    let curve = Curve::of(&From { range: VideoRange::Pq, primaries: 9, peak_nits: NOMINAL_NITS });
    let all = kinds.into_iter().flat_map(|kind| colours.clone().map(move |colour| (kind, colour)));
    all.flat_map(|((range, primaries), (y, cb, cr))| {
        let from = From { range, primaries, peak_nits: NOMINAL_NITS };
        codes_of(from.map(&curve, signal_of(y, cb, cr))).into_iter().flat_map(u16::to_le_bytes)
    })
    .collect()
}

impl Tone {
    /// Computes the table: about a tenth of a second.
    pub fn new(from: From) -> Self {
        let curve = Curve::of(&from);
        let nodes = CHROMA_NODES * CHROMA_NODES * LUMA_NODES;
        let (mut luma, mut chroma) = (Vec::with_capacity(nodes), Vec::with_capacity(nodes));
        for node in 0..nodes {
            let (y, cr) = (node % LUMA_NODES, node / LUMA_NODES % CHROMA_NODES);
            let cb = node / LUMA_NODES / CHROMA_NODES;
            let [y, cb, cr] =
                codes_of(from.map(&curve, signal_of(y << LUMA_BITS, cb << CHROMA_BITS, cr << CHROMA_BITS)));
            luma.push(y);
            chroma.push([cb, cr]);
        }
        Self { luma, chroma }
    }

    /// Maps a picture of an even number of rows, and of columns as many as a row of `to` has.
    pub fn apply(
        &self,
        from: &Planes<&[u8]>,
        to: Planes<&mut [u8]>,
        (width, height): (usize, usize),
    ) -> Result<(), Error> {
        let lacking = |have: usize, stride: usize, rows: usize, bytes: usize| have < stride * (rows.max(1) - 1) + bytes;
        let half = (width / 2, height / 2);
        for plane in 0..3 {
            let (columns, rows) = if plane == 0 { (width, height) } else { half };
            let short = lacking(from.data[plane].len(), from.strides[plane], rows, 2 * columns)
                || lacking(to.data[plane].len(), to.strides[plane], rows, columns);
            if short || from.strides[plane] < 2 * columns || to.strides[plane] < columns {
                return Err(Error::Failed(format!("plane {plane} is smaller than {columns}x{rows}")));
            }
        }
        let rows_each = half.1.div_ceil(THREADS).max(1);
        let [luma, blue, red] = to.data;
        let [ys, us, vs] = to.strides;
        std::thread::scope(|scope| {
            let parts = luma.chunks_mut(2 * ys * rows_each).zip(blue.chunks_mut(us * rows_each));
            for (part, ((luma, blue), red)) in parts.zip(red.chunks_mut(vs * rows_each)).enumerate() {
                let first = part * rows_each;
                let count = rows_each.min(half.1.saturating_sub(first));
                scope.spawn(move || {
                    for row in 0..count {
                        let (y, source) = (2 * row * ys, first + row);
                        let (even, odd) = luma[y..].split_at_mut(ys);
                        let row_of = |plane: usize, row: usize| &from.data[plane][row * from.strides[plane]..];
                        self.two_rows(
                            [row_of(0, 2 * source), row_of(0, 2 * source + 1), row_of(1, source), row_of(2, source)],
                            [even, odd, &mut blue[row * us..], &mut red[row * vs..]],
                            half.0,
                        );
                    }
                });
            }
        });
        Ok(())
    }

    /// Two rows of luma, and the row of both chroma planes that goes with them.
    fn two_rows(&self, from: [&[u8]; 4], to: [&mut [u8]; 4], columns: usize) {
        let [even, odd, blue, red] = from;
        let [to_even, to_odd, to_blue, to_red] = to;
        for x in 0..columns {
            let cell = Cell::new(ten_bits(blue, x), ten_bits(red, x));
            let lumas =
                [ten_bits(even, 2 * x), ten_bits(even, 2 * x + 1), ten_bits(odd, 2 * x), ten_bits(odd, 2 * x + 1)];
            to_even[2 * x] = cell.luma(&self.luma, lumas[0]);
            to_even[2 * x + 1] = cell.luma(&self.luma, lumas[1]);
            to_odd[2 * x] = cell.luma(&self.luma, lumas[2]);
            to_odd[2 * x + 1] = cell.luma(&self.luma, lumas[3]);
            [to_blue[x], to_red[x]] = cell.chroma(&self.chroma, lumas.iter().sum::<usize>().midpoint(3) / 2);
        }
    }
}

fn ten_bits(row: &[u8], x: usize) -> usize {
    usize::from(u16::from_le_bytes([row[2 * x], row[2 * x + 1]]).min(1023))
}

/// Where a chroma value lies in the table: four columns of luma nodes and their weights, which add up to 256.
struct Cell([(usize, u32); 4]);

impl Cell {
    fn new(blue: usize, red: usize) -> Self {
        const ONE: u32 = 1 << CHROMA_BITS;
        let split = |code: usize| (code >> CHROMA_BITS, (code & (ONE as usize - 1)) as u32);
        let ((b, b_part), (r, r_part)) = (split(blue), split(red));
        let column = |b: usize, r: usize| (b * CHROMA_NODES + r) * LUMA_NODES;
        Self([
            (column(b, r), (ONE - b_part) * (ONE - r_part)),
            (column(b, r + 1), (ONE - b_part) * r_part),
            (column(b + 1, r), b_part * (ONE - r_part)),
            (column(b + 1, r + 1), b_part * r_part),
        ])
    }

    fn luma(&self, table: &[u16], luma: usize) -> u8 {
        let (node, part) = (luma >> LUMA_BITS, (luma & 15) as u32);
        let sum = self.0.iter().map(|&(column, weight)| {
            let pair = &table[column + node..column + node + 2];
            weight * (u32::from(pair[0]) * (16 - part) + u32::from(pair[1]) * part)
        });
        rounded(sum.sum())
    }

    fn chroma(&self, table: &[[u16; 2]], luma: usize) -> [u8; 2] {
        let (node, part) = (luma >> LUMA_BITS, (luma & 15) as u32);
        [0, 1].map(|c| {
            let sum = self.0.iter().map(|&(column, weight)| {
                let pair = &table[column + node..column + node + 2];
                weight * (u32::from(pair[0][c]) * (16 - part) + u32::from(pair[1][c]) * part)
            });
            rounded(sum.sum())
        })
    }
}

/// A weighted sum as a code.
fn rounded(sum: u32) -> u8 {
    u8::try_from((sum + (1 << (SHIFT - 1))) >> SHIFT).unwrap_or(u8::MAX)
}

#[cfg(test)]
#[path = "tone_tests.rs"]
mod tests;
