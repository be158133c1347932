//! The room over an encoder that can start no worker.

use tempfile::TempDir;

use super::policy::tests::rendition;
use super::*;
use crate::cache;
use crate::encoder::{self, Recipe, Work};
use crate::media::{Plan, Trial};
use crate::worker::{self, Pool};

pub(super) struct Bench {
    pub inner: Arc<Inner>,
    _folder: TempDir,
}

impl Bench {
    pub(super) fn new(disk_bytes: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let config = cache::Config { disk_bytes, ..cache::Config::default() };
        let cache = Cache::open(&config, &folder.path().join("cache")).unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let workers = worker::Config { standby: 0, program: Some("/nonexistent".into()), ..worker::Config::default() };
        let rooms = encoder::Rooms {
            pool: Pool::start(workers).unwrap(),
            cache: cache.clone(),
            open: Arc::new(|_| Err("there is none".to_owned())),
            ended: Arc::new(|_, _| {}),
            bridged: Arc::new(|_, _, _, _| {}),
        };
        let trial = |codec: &str| Trial {
            name: codec.into(),
            codec: codec.into(),
            rank: 1,
            devices: Vec::new(),
            outcome: Ok([0; 32]),
        };
        let config = encoder::Config { workers: 1, ..encoder::Config::default() };
        let recipe = Recipe::choose(&["h264", "aac", "jpeg"].map(trial), &config).unwrap();
        let encoder = Encoder::start(&config, recipe, rooms);
        let inner = Inner::new(&Config::default(), Rooms { catalog, cache, encoder, disk_bytes }).unwrap();
        Self { inner, _folder: folder }
    }
}

/// A title of one rendition.
pub(super) fn work() -> Work {
    Work {
        digest: "0".repeat(64).parse().unwrap(),
        generation: "0123456789abcdef".parse().unwrap(),
        plan: Arc::new(Plan { renditions: vec![rendition(360)], ..Plan::default() }),
    }
}
