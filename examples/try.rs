use matinee::media::*;
use matinee::packager;
use matinee::pipeline;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = Instant::now();
    pipeline::warm_up().unwrap();
    eprintln!("warm {:?}", t.elapsed());
    if a[1] == "trial" {
        let t = Instant::now();
        for x in pipeline::trial() {
            println!("{} {} {:?}", x.name, x.rank, x.outcome.map(|h| h[..4].to_vec()));
        }
        eprintln!("{:?}", t.elapsed());
        return;
    }
    let src = std::path::Path::new(&a[1]);
    let t = Instant::now();
    let ix = match pipeline::inspect(src, &mut |_| {}) {
        Ok(i) => i,
        Err(e) => {
            println!("REFUSED {:?} {} {:?}", e.code, e.message, t.elapsed());
            return;
        }
    };
    eprintln!("inspect {:?} {}", t.elapsed(), ix.container);
    if let Some(v) = &ix.video {
        println!(
            "video {} {}x{} par {:?} rot {:?} rate {:?} {:?} 420 {} int {} ts {} {:?} n={} shown={} end={} idr {}",
            v.track.codec,
            v.width,
            v.height,
            v.pixel_aspect,
            v.rotation,
            v.rate.map(|r| r.to_string()),
            v.colour,
            v.is_8bit_420,
            v.interlaced,
            v.track.timescale,
            v.track.access,
            v.track.packets.len(),
            v.track.shown().len(),
            v.track.end,
            v.keys_are_idr
        );
    }
    for x in &ix.audio {
        println!(
            "audio {} {} ch{} ts {} {:?} n={} start {:?} end {} aac {:?}",
            x.track.codec,
            x.rate,
            x.channels,
            x.track.timescale,
            x.track.access,
            x.track.packets.len(),
            x.track.start(),
            x.track.end,
            x.aac_lc_config
        );
    }
    let plan = match plan(&ix, &Ladder::default()) {
        Ok(p) => p,
        Err(e) => {
            println!("PLAN {e}");
            return;
        }
    };
    for r in &plan.renditions {
        let d: Vec<String> = (0..r.grid.segments().min(8))
            .map(|n| format!("{:.3}", r.grid.timescale().seconds(r.grid.ticks(n) as i64)))
            .collect();
        println!(
            "  {} {} bw {} segs {} [{}] last {:.3} {:?}",
            r.name,
            r.codecs,
            r.bandwidth,
            r.grid.segments(),
            d.join(" "),
            r.grid.timescale().seconds(r.grid.ticks(r.grid.segments() - 1) as i64),
            match &r.kind {
                RenditionKind::Video(v) => format!(
                    "{}x{} {} {:?}",
                    v.width,
                    v.height,
                    v.rate,
                    match &v.source {
                        VideoSource::Passthrough { .. } => "pass",
                        _ => "enc",
                    }
                ),
                RenditionKind::Audio(a) => format!("{:?}", a.source),
            }
        );
    }
    if a.len() > 2 {
        let mut s =
            pipeline::Session::open(src, &ix, &Templates { video: "h264-x264".into(), audio: "aac-avenc".into() })
                .unwrap();
        let no = AtomicBool::new(false);
        let dir = std::env::temp_dir().join("try");
        std::fs::create_dir_all(&dir).unwrap();
        for r in &plan.renditions {
            if a[2] != "all" && r.name.as_str() != a[2] {
                continue;
            }
            let t = Instant::now();
            let c = s.parameters(r).unwrap();
            eprintln!("{} params {:?} {:02x?}", r.name, t.elapsed(), &c[..4.min(c.len())]);
            let mut out = packager::init(r, &c).unwrap().to_vec();
            std::fs::write(dir.join(format!("{}.init.mp4", r.name)), &out).unwrap();
            let range: Vec<u32> =
                if a.len() > 3 { vec![a[3].parse().unwrap()] } else { (0..r.grid.segments()).collect() };
            for n in range {
                let t = Instant::now();
                let mut first = None;
                let mut tally = packager::Tally::new(r, n).unwrap();
                let mut ck =
                    packager::Chunker::new(n, r.grid.segment(n).unwrap().0.at, (r.grid.timescale().get() / 2) as u64);
                let mut seg = vec![];
                let mut samples = vec![];
                let f = s.segment(r, n, &no, &mut |o| {
                    if let pipeline::Output::Samples(v) = o {
                        first.get_or_insert(t.elapsed());
                        samples.extend(v);
                    }
                });
                let f = match f {
                    Ok(f) => f,
                    Err(e) => {
                        println!("{} {n} ERROR {e}", r.name);
                        continue;
                    }
                };
                let el = t.elapsed();
                for x in samples {
                    if let Err(e) = tally.push(&x) {
                        println!("{} {n} tally {e}", r.name);
                    }
                    if let Some(b) = ck.push(x) {
                        seg.extend_from_slice(&b);
                    }
                }
                if let Err(e) = tally.finish() {
                    println!("{} {n} tally {e}", r.name);
                }
                if let Some(b) = ck.finish() {
                    seg.extend_from_slice(&b);
                }
                if f.config != c {
                    println!("{} {n} CONFIG DIFFERS {:02x?} {:02x?}", r.name, c, f.config);
                }
                let bps = seg.len() as f64 * 8.0 / r.grid.timescale().seconds(r.grid.ticks(n) as i64);
                if bps > r.bandwidth as f64 {
                    println!("{} {n} OVER {bps:.0} > {}", r.name, r.bandwidth);
                }
                println!(
                    "{} {n} {} bytes first {:?} total {:?} bridged {} {:.0} b/s",
                    r.name,
                    seg.len(),
                    first.unwrap(),
                    el,
                    f.bridged,
                    bps
                );
                std::fs::write(dir.join(format!("{}.{}.m4s", r.name, n)), &seg).unwrap();
                out.extend(seg);
            }
            std::fs::write(dir.join(format!("{}.mp4", r.name)), &out).unwrap();
        }
    }
}
