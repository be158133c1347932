//! The room over an encoder that can start no worker.

use tempfile::TempDir;

use super::policy::tests::rendition;
use super::*;
use crate::cache;
use crate::encoder::Work;
use crate::encoder::tests::without_workers;
use crate::media::Plan;

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
        let encoder = without_workers(&cache, Arc::new(|_| Err("there is none".to_owned())));
        let inner = Inner::new(&Config::default(), Rooms { catalog, cache, encoder, disk_bytes, clock: Clock::System })
            .unwrap();
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
