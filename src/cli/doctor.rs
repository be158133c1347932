//! `matinee doctor`

use clap::Args;
use matinee::encoder::Recipe;
use matinee::media::Trial;
use matinee::worker::protocol::Attempt;
use matinee::worker::{self, child};
use serde_json::json;

use super::{Failure, Place, REMOVED, failed, logs_if_wanted, pool, say, until_interrupted};

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    place: Place,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

struct Findings {
    trials: Vec<Trial>,
    recipe: Result<Recipe, String>,
    sandbox: Result<Vec<Attempt>, worker::Error>,
}

impl Doctor {
    pub fn run(&self) -> Result<(), Failure> {
        let config = self.place.load()?;
        logs_if_wanted(&config)?;
        let findings = until_interrupted(REMOVED, async {
            let pool = pool(&config, 0)?;
            let trials = pool.trial().await.map_err(failed)?;
            let recipe = Recipe::choose(&trials, &config.encoder).map_err(|error| error.to_string());
            let sandbox = pool.self_test().await;
            pool.close().await;
            Ok(Findings { trials, recipe, sandbox })
        })?;
        if self.json {
            findings.as_json()
        } else {
            findings.as_text()
        }
        findings.verdict()
    }
}

impl Findings {
    fn chosen(&self, trial: &Trial) -> bool {
        let templates = self.recipe.as_ref().ok().map(Recipe::templates);
        templates.is_some_and(|chosen| [&chosen.video, &chosen.audio, &chosen.picture].contains(&&trial.name))
    }

    fn open(&self) -> Vec<&str> {
        let attempts = self.sandbox.iter().flatten();
        attempts.filter(|attempt| attempt.refused.is_none()).map(|attempt| attempt.act.as_str()).collect()
    }

    fn as_text(&self) {
        say(format_args!("matinee {}, {}, {}", env!("CARGO_PKG_VERSION"), child::media_library(), kernel()));
        say("templates:");
        for trial in &self.trials {
            let Trial { name, codec, rank, outcome, .. } = trial;
            let verdict = match outcome {
                Ok(_) if self.chosen(trial) => "works, used".to_owned(),
                Ok(_) => "works, another is preferred".to_owned(),
                Err(why) => format!("skipped: {}", why.replace(char::is_control, " ")),
            };
            say(format_args!("  {name:<12} {codec:<5} rank {rank:>4}  {verdict}"));
        }
        match &self.sandbox {
            Ok(attempts) if self.open().is_empty() => {
                say(format_args!("sandbox: closed, {} attempts to break out were refused", attempts.len()));
            }
            Ok(_) => say(format_args!("sandbox: OPEN: {}", self.open().join(", "))),
            Err(why) => say(format_args!("sandbox: {why}")),
        }
    }

    fn as_json(&self) {
        let templates = self.trials.iter().map(|trial| {
            let why = trial.outcome.as_ref().err();
            json!({
                "name": trial.name, "codec": trial.codec, "rank": trial.rank, "works": why.is_none(), "reason": why,
                "chosen": self.chosen(trial),
            })
        });
        let attempts = self.sandbox.iter().flatten().map(|a| json!({ "act": a.act, "refused": a.refused }));
        say(json!({
            "version": env!("CARGO_PKG_VERSION"), "media_library": child::media_library(), "kernel": kernel(),
            "templates": templates.collect::<Vec<_>>(),
            "sandbox": {
                "closed": self.sandbox.is_ok() && self.open().is_empty(),
                "attempts": attempts.collect::<Vec<_>>(),
                "error": self.sandbox.as_ref().err().map(ToString::to_string),
            },
        }));
    }

    fn verdict(&self) -> Result<(), Failure> {
        if let Err(why) = &self.recipe {
            let why = why.split(": run").next().unwrap_or(why);
            return Err(failed(format_args!("{why}: install what the skipped templates lack")));
        }
        match &self.sandbox {
            Err(why) => Err(failed(why)),
            Ok(_) if self.open().is_empty() => Ok(()),
            Ok(_) => Err(failed(format_args!("a worker is not confined: it can {}", self.open().join(", ")))),
        }
    }
}

fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}
