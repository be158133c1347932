//! How well a frame stands for a film. Black, blank, washed-out and blurred frames lose. Integers only: the same frame wins
//! everywhere.

use super::upright::Rgb;

/// Share of pixels, in thousandths, that may lie outside the spread of brightness at each end.
const OUTLIERS: usize = 50;
/// More contrast than this is not better.
const ENOUGH_SPREAD: u64 = 150;
/// More detail than this, sixteenths of a level between neighbours, is as likely to be noise.
const ENOUGH_DETAIL: u64 = 160;
/// The mean brightness of a frame that is neither dark nor washed out.
const GOOD_MEAN: std::ops::RangeInclusive<u64> = 60..=170;
/// Levels of brightness that count as one shade, and the share of pixels, in thousandths, that makes a shade count.
const SHADE: usize = 8;
const SHADE_SHARE: usize = 5;

/// Higher is better; 0 for a frame that is all one colour.
pub fn score(picture: &Rgb) -> u64 {
    let luma: Vec<u8> = picture.pixels().iter().map(luma).collect();
    let histogram = histogram(&luma);
    let spread = spread(&histogram, luma.len()).min(ENOUGH_SPREAD);
    let detail = detail(&luma, picture.width as usize).min(ENOUGH_DETAIL);
    let mean = luma.iter().map(|l| u64::from(*l)).sum::<u64>() / (luma.len() as u64).max(1);
    let shades = histogram.chunks(SHADE).filter(|s| s.iter().sum::<usize>() * 1000 > luma.len() * SHADE_SHARE).count();
    spread * (detail + 1) * exposure(mean) * (shades as u64)
}

/// By BT.709's weights, in 256ths.
fn luma([red, green, blue]: &[u8; 3]) -> u8 {
    let weighted = 54 * u32::from(*red) + 183 * u32::from(*green) + 19 * u32::from(*blue);
    u8::try_from(weighted / 256).unwrap_or(u8::MAX)
}

fn histogram(luma: &[u8]) -> [usize; 256] {
    let mut histogram = [0; 256];
    luma.iter().for_each(|l| histogram[*l as usize] += 1);
    histogram
}

/// Levels between the darkest and the brightest pixels, without the outliers.
fn spread(histogram: &[usize; 256], pixels: usize) -> u64 {
    let outliers = pixels * OUTLIERS / 1000;
    let level = |ordered: &mut dyn Iterator<Item = &usize>| {
        let mut seen = 0;
        let passed = |n: &&usize| {
            seen += **n;
            seen <= outliers
        };
        ordered.take_while(passed).count()
    };
    let (from_below, from_above) = (level(&mut histogram.iter()), level(&mut histogram.iter().rev()));
    255_usize.saturating_sub(from_below + from_above) as u64
}

/// Mean difference of a pixel from its right and lower neighbours, sixteenths of a level: what blur takes away.
fn detail(luma: &[u8], width: usize) -> u64 {
    let difference = |a: u8, b: Option<&u8>| b.map_or(0, |b| u64::from(a.abs_diff(*b)));
    let sum: u64 = (0..luma.len())
        .map(|i| {
            let right = luma.get(i + 1).filter(|_| (i + 1) % width.max(1) != 0);
            difference(luma[i], right) + difference(luma[i], luma.get(i + width))
        })
        .sum();
    sum * 16 / (luma.len() as u64).max(1)
}

/// Up to 100: how far the mean brightness is from black or white.
fn exposure(mean: u64) -> u64 {
    match mean {
        m if m < *GOOD_MEAN.start() => (m * 100 / GOOD_MEAN.start()).max(1),
        m if m > *GOOD_MEAN.end() => ((255 - m.min(255)) * 100 / (255 - GOOD_MEAN.end())).max(1),
        _ => 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: u32 = 64;
    const HEIGHT: u32 = 36;

    fn picture(level: impl Fn(u32, u32) -> u32) -> Rgb {
        let mut picture = Rgb::black(WIDTH, HEIGHT);
        for (i, pixel) in picture.pixels_mut().enumerate() {
            let (x, y) = (i as u32 % WIDTH, i as u32 / WIDTH);
            *pixel = [u8::try_from(level(x, y)).unwrap(); 3];
        }
        picture
    }

    /// Blocks of many shades.
    fn scene(x: u32, y: u32) -> u32 {
        30 + (x / 6 * 37 + y / 5 * 61) % 190
    }

    #[test]
    fn black_flat_dark_washed_out_and_blurred_frames_lose_against_a_scene() {
        let best = score(&picture(scene));
        let smooth = |x: u32, y: u32| {
            let near = || (0..9).flat_map(|dx| (0..9).map(move |dy| (dx, dy)));
            near().map(|(dx, dy)| scene((x + dx).min(WIDTH - 1), (y + dy).min(HEIGHT - 1))).sum::<u32>() / 81
        };
        for (what, worse) in [
            ("black", picture(|_, _| 0)),
            ("flat", picture(|_, _| 128)),
            ("white", picture(|_, _| 255)),
            ("dark", picture(|x, y| scene(x, y) / 8)),
            ("washed out", picture(|x, y| 215 + scene(x, y) / 8)),
            ("blurred", picture(smooth)),
            ("a title on black", picture(|x, y| if y == 18 && x % 3 == 0 { 255 } else { 0 })),
        ] {
            assert!(score(&worse) * 2 < best, "{what}: {} against {best}", score(&worse));
        }
        assert_eq!(score(&picture(|_, _| 0)), 0);
        assert_eq!(score(&picture(|_, _| 128)), 0);
    }
}
