//! What the server makes of an index: a plan, and every playlist of it.

use matinee::manifest;
use matinee::media::{Index, Ladder, Plan, Program, Thumbnails, plan};

/// Plans an index and says it in every way.
pub fn planned(index: &Index) -> Option<Plan> {
    drop(index.notes());
    let plan = plan(index, &Ladder::default()).ok()?;
    let generation = "0123456789abcdef".parse().expect("16 digits");
    let mut texts = vec![
        manifest::hls::master(&plan, &generation),
        manifest::hls_ts::master(&plan, &generation),
        manifest::dash::manifest(&plan, &generation),
    ];
    for rendition in &plan.renditions {
        texts.push(manifest::hls::media(rendition, 6));
        if let Some(program) = Program::of(&plan, rendition) {
            texts.push(manifest::hls_ts::media(&plan, &program));
        }
    }
    if let Some(thumbnails) = Thumbnails::of(&plan) {
        texts.push(manifest::pictures::vtt(&thumbnails, &generation));
        texts.push(manifest::pictures::images(&thumbnails));
    }
    assert!(texts.iter().all(|text| !text.is_empty()));
    Some(plan)
}
