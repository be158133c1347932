//! `matinee warm`

use std::time::Duration;

use clap::Args;
use matinee::catalog::{Catalog, Job, JobState};
use matinee::media::{JobId, TitleId};
use matinee::warmer::{Range, Warmer};
use serde_json::json;
use tokio::time::interval;

use super::{Failure, Place, failed, say, title, until_interrupted};

/// How often the job is looked at while somebody waits for it.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct Warm {
    /// The title's id, as `matinee list` shows it.
    #[arg(value_name = "ID")]
    id: TitleId,
    /// Only these renditions, such as 720p,audio-128k.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    renditions: Option<Vec<String>>,
    /// From this time on, seconds into the title.
    #[arg(long, value_name = "SECONDS")]
    from: Option<f64>,
    /// Up to this time, seconds into the title.
    #[arg(long, value_name = "SECONDS")]
    to: Option<f64>,
    /// Wait until the job has ended.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    place: Place,
    /// Print a JSON object, or one for each step with --wait.
    #[arg(long)]
    json: bool,
}

impl Warm {
    pub fn run(&self) -> Result<(), Failure> {
        let (catalog, title) = title(&self.place.load()?, &self.id)?;
        let Some(plan) = title.plan else {
            return Err(failed(format_args!(
                "title {} is {}: it cannot be warmed",
                self.id,
                title.entry.state.as_str()
            )));
        };
        let range = Range { renditions: self.renditions.clone(), from: self.from, to: self.to };
        range.objects(&plan).map_err(|why| Failure::Usage(vec![why.to_string()]))?;
        let job = Warmer::enter(&catalog, &self.id, &range).map_err(failed)?;
        if self.wait {
            let goes_on = format!("job {job} goes on; DELETE /api/v1/jobs/{job} cancels it");
            return until_interrupted(&goes_on, self.follow(&catalog, &job));
        }
        if self.json {
            say(json!({ "job": job, "title": self.id }));
        } else {
            say(format_args!("{}: job {job}, which the server of this data folder does, now or once it runs", self.id));
        }
        Ok(())
    }

    async fn follow(&self, catalog: &Catalog, id: &JobId) -> Result<(), Failure> {
        let mut looks = interval(LOOK);
        let mut last = None;
        loop {
            looks.tick().await;
            let job = catalog.job(id).map_err(failed)?.ok_or_else(|| failed("the job is gone, with its title"))?;
            if last.replace((job.state, job.progress)) != Some((job.state, job.progress)) {
                self.say(&job);
            }
            let why = job.failure.map(|failure| failure.message);
            match job.state {
                JobState::Queued | JobState::Running => {}
                JobState::Done => return Ok(()),
                JobState::Cancelled => return Err(failed("the job was cancelled")),
                JobState::Failed => return Err(failed(why.unwrap_or_default())),
            }
        }
    }

    fn say(&self, job: &Job) {
        let (state, percent) = (job.state.as_str(), f64::from(job.progress) / 10.0);
        if self.json {
            say(json!({ "job": job.id, "title": job.title, "state": job.state, "progress": job.progress }));
        } else {
            say(format_args!("{}: {state}, {percent:.1} %", job.title));
        }
    }
}
