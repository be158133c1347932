use super::*;

fn hdr10(peak: u32) -> From {
    From::of(Colour { primaries: 9, transfer: 16, matrix: 9, full_range: false }, Some(peak)).unwrap()
}

fn hlg() -> From {
    From::of(Colour { primaries: 9, transfer: 18, matrix: 9, full_range: false }, None).unwrap()
}

/// 8-bit luma of a grey of that luminance.
fn grey(from: From, nits: f64) -> f64 {
    let signal = pq_signal(nits);
    f64::from(codes_of(from.map(&Curve::of(&from), [signal; 3]))[0]) / 64.0
}

/// The same colour through the table.
fn through(tone: &Tone, [y, cb, cr]: [u16; 3]) -> [u8; 3] {
    let plane = |code: u16, n: usize| std::iter::repeat_n(code.to_le_bytes(), n).flatten().collect::<Vec<u8>>();
    let from = [plane(y, 4), plane(cb, 1), plane(cr, 1)];
    let (mut luma, mut blue, mut red) = ([0; 4], [0; 1], [0; 1]);
    let from = Planes { data: [&from[0][..], &from[1], &from[2]], strides: [4, 2, 2] };
    let to = Planes { data: [&mut luma[..], &mut blue, &mut red], strides: [2, 1, 1] };
    tone.apply(&from, to, (2, 2)).unwrap();
    assert!(luma.iter().all(|l| *l == luma[0]));
    [luma[0], blue[0], red[0]]
}

#[test]
fn pq_and_its_reverse_agree_with_the_standard() {
    // ITU-R BT.2408 table 1: 203 cd/m² is 58 % of PQ, 1000 cd/m² 75 %.
    assert!((pq_signal(203.0) - 0.58).abs() < 0.002 && (pq_signal(1000.0) - 0.752).abs() < 0.001);
    for nits in [0.01, 1.0, 100.0, 4000.0, 10_000.0] {
        assert!((pq_light(pq_signal(nits)) / nits - 1.0).abs() < 1e-9);
    }
    // HLG's 75 % is 203 cd/m² on its nominal display, and its top is the peak.
    assert!((hlg_light([0.75; 3])[0] - 203.0).abs() < 1.0 && (hlg_light([1.0; 3])[0] - 1000.0).abs() < 0.5);
}

#[test]
fn brighter_stays_brighter_up_to_the_peak_and_white_is_not_reached_before() {
    for peak in [400, 1000, 4000, 10_000] {
        let levels: Vec<f64> = (0..=100).map(|n| grey(hdr10(peak), f64::from(peak) * f64::from(n) / 100.0)).collect();
        assert!(levels.windows(2).all(|w| w[0] <= w[1]), "{peak}: {levels:?}");
        assert!(levels[0] == 16.0 && levels[100] > 234.9 && levels[60] < 235.0, "{peak}: {levels:?}");
        let white = grey(hdr10(peak), WHITE_NITS);
        assert!((185.0..232.0).contains(&white), "diffuse white of a {peak} cd/m² film is {white}");
    }
    assert!((grey(hdr10(1000), 26.0) - (16.0 + 219.0 * (26.0_f64 / 203.0).powf(1.0 / 2.4))).abs() < 0.1, "shadows");
}

#[test]
fn colours_that_bt_709_lacks_are_drawn_in_and_their_neighbours_stay_apart() {
    let green = |saturation: f64| into_gamut(hdr10(1000).to_709([0.5 - 0.5 * saturation, 0.5, 0.5 - 0.5 * saturation]));
    let pure = green(1.0);
    assert!(pure.iter().all(|c| (0.0..=1.0).contains(c)), "{pure:?}");
    let reds: Vec<f64> = (0..=10).map(|n| green(f64::from(n) / 10.0)[0]).collect();
    assert!(reds.windows(2).all(|w| w[0] > w[1]), "{reds:?}");
    assert_eq!(into_gamut([0.25, 0.2, 0.3]), [0.25, 0.2, 0.3], "what BT.709 has is not touched");
}

/// A colour of BT.709 at some brightness as 10-bit codes of the source's kind.
fn coded(from: From, light: [f64; 3], nits: f64) -> [u16; 3] {
    let rows = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]];
    let wide = rows.map(|row| nits * (0..3).map(|i| row[i] * light[i]).sum::<f64>());
    let rgb = match from.range {
        VideoRange::Hlg => {
            let luminance = (0.2627 * wide[0] + 0.6780 * wide[1] + 0.0593 * wide[2]) / 1000.0;
            let scene = wide.map(|l| l / 1000.0 / luminance.max(1e-9).powf(0.2 / 1.2));
            scene.map(|e| {
                if e <= 1.0 / 12.0 {
                    (3.0 * e).sqrt()
                } else {
                    0.178_832_77 * (12.0 * e - 0.284_668_92).ln() + 0.559_910_73
                }
            })
        }
        _ => wide.map(pq_signal),
    };
    let y = 0.2627 * rgb[0] + 0.6780 * rgb[1] + 0.0593 * rgb[2];
    let codes = [64.0 + 876.0 * y, 512.0 + 896.0 * (rgb[2] - y) / 1.8814, 512.0 + 896.0 * (rgb[0] - y) / 1.4746];
    codes.map(|code| code.round().clamp(0.0, 1023.0) as u16)
}

#[test]
fn the_table_says_of_real_colours_what_the_formulas_say() {
    for from in [hdr10(1000), hdr10(4000), hlg()] {
        let (tone, curve) = (Tone::new(from), Curve::of(&from));
        let mut off = Vec::new();
        for n in 0..1000 {
            let light = [n % 10, n / 10 % 10, n / 100].map(|level| f64::from(level) / 9.0);
            for nits in [20.0, 100.0, 203.0, 600.0] {
                let input = coded(from, light, nits);
                let exact = codes_of(from.map(&curve, signal_of(input[0].into(), input[1].into(), input[2].into())));
                let pairs = through(&tone, input).into_iter().zip(exact);
                off.extend(pairs.map(|(got, exact)| (f64::from(got) - f64::from(exact) / 64.0).abs()));
            }
        }
        off.sort_by(f64::total_cmp);
        let share = |percent: usize| off[(off.len() - 1) * percent / 100];
        assert!(
            share(50) < 0.5 && share(95) < 2.0 && share(99) < 5.0,
            "{from:?}: {} {} {}",
            share(50),
            share(95),
            share(99)
        );
    }
}

#[test]
fn grey_stays_grey_and_rows_do_not_depend_on_the_threads() {
    let tone = Tone::new(hdr10(1000));
    for y in (0..1024).step_by(7) {
        assert_eq!(through(&tone, [y, 512, 512])[1..], [128, 128], "{y}");
    }
    // Every row alike: whichever thread makes it, it must come out alike.
    let (width, height) = (16, 22);
    let row = |n: usize, step: u16| (0..n as u16).flat_map(|x| (64 + x * step).to_le_bytes()).collect::<Vec<u8>>();
    let from =
        [row(width, 50).repeat(height), row(width / 2, 110).repeat(height / 2), row(width / 2, 90).repeat(height / 2)];
    let mut to = [vec![0; width * height], vec![0; width * height / 4], vec![0; width * height / 4]];
    let [luma, blue, red] = &mut to;
    let from = Planes { data: [&from[0][..], &from[1], &from[2]], strides: [2 * width, width, width] };
    let planes = Planes { data: [&mut luma[..], &mut blue[..], &mut red[..]], strides: [width, width / 2, width / 2] };
    tone.apply(&from, planes, (width, height)).unwrap();
    for (plane, width) in to.iter().zip([width, width / 2, width / 2]) {
        assert!(plane.chunks(width).all(|row| *row == plane[..width]));
    }
    let planes = Planes { data: [&mut [0; 4][..], &mut [0; 1], &mut [0; 1]], strides: [2, 1, 1] };
    let small = Planes { data: [&[0; 3][..], &[0; 2], &[0; 2]], strides: [4, 2, 2] };
    assert!(tone.apply(&small, planes, (2, 2)).is_err(), "a picture that is smaller than it says");
}

#[test]
fn bt_709_and_bt_601_are_left_alone() {
    for code in [1, 2, 5, 6] {
        assert_eq!(From::of(Colour { primaries: code, transfer: 1, matrix: code, full_range: false }, None), None);
    }
}
