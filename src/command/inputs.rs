//! Where a build's inputs come from: mirrors, cache, keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prejoin_image_builder::class::Class;
use prejoin_image_builder::events::waiting;
use prejoin_image_builder::io::artifacts::{self, Programs};
use prejoin_image_builder::io::cache::Cache;
use prejoin_image_builder::io::error::FetchError;
use prejoin_image_builder::io::fetch::{self, Fetcher};
use prejoin_image_builder::io::known::Known;
use prejoin_image_builder::io::mirror::{self, Mirrors};
use prejoin_image_builder::io::unpack::Deb;
use prejoin_image_builder::io::{pack, prune};
use prejoin_profiles::distribution::Wanted;
use prejoin_profiles::lock::{self, Lock};
use prejoin_store::hold::Hold;
use prejoin_wire::digest::Digest;

use super::build::Debs;
use super::project::{Project, SystemPlan};
use crate::args::Inputs;
use crate::failure::Failure;
use crate::progress::Progress;

/// The cache's folder: the one that is named, or this user's.
pub(crate) fn cache_root(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let root = named.map(Path::to_owned).or_else(Cache::default_root);
    root.ok_or_else(|| {
        Failure::plain(
            Class::Environment,
            "finding a cache folder: neither XDG_CACHE_HOME nor HOME is set",
        )
        .hint("name one with --cache".to_owned())
    })
}

/// The settings of everything that fetches.
pub(crate) struct Sources {
    cache: Cache,
    /// Nobody prunes the cache meanwhile.
    _hold: Hold,
    mirrors: mirror::Settings,
    offline: bool,
}

impl Sources {
    /// What is in the cache, and nothing else.
    pub(crate) fn of_cache(cache: Option<&Path>, project: &Project) -> Result<Self, Failure> {
        let inputs = Inputs {
            cache: cache.map(Path::to_owned),
            mirror: Vec::new(),
            offline: true,
        };
        Sources::new(&inputs, project)
    }

    /// From flags, environment, cluster file and the host's apt settings, in falling order.
    pub(crate) fn new(inputs: &Inputs, project: &Project) -> Result<Self, Failure> {
        let root = cache_root(inputs.cache.as_deref())?;
        let mut flags: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let known = project.catalog.archives();
        for flag in &inputs.mirror {
            let (archive, address) = flag.split_once('=').ok_or_else(|| {
                Failure::plain(
                    Class::Input,
                    format!("--mirror {flag}: not of the form ARCHIVE=URL"),
                )
                .hint("for example --mirror debian=file:///srv/mirror/debian".to_owned())
            })?;
            if !known.contains(archive) {
                let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                return Err(Failure::plain(
                    Class::Input,
                    format!("--mirror {flag}: there is no archive `{archive}`"),
                )
                .hint(format!("the archives are {}", names.join(", "))));
            }
            flags
                .entry(archive.to_owned())
                .or_default()
                .push(address.to_owned());
        }
        let cluster = project.cluster.mirrors.iter().map(|(archive, addresses)| {
            (
                archive.clone(),
                addresses
                    .iter()
                    .map(|address| address.value.clone())
                    .collect(),
            )
        });
        let mirrors = mirror::Settings {
            flags,
            cluster: cluster.collect(),
            ..Default::default()
        }
        .with_host();
        let cache = Cache::new(root);
        let hold = Hold::shared(cache.root(), waiting(&|event| Progress::new().show(event)));
        cache.sweep();
        Ok(Sources {
            cache,
            _hold: hold,
            mirrors,
            offline: inputs.offline,
        })
    }

    /// The cache folder.
    pub(crate) fn cache(&self) -> &Path {
        self.cache.root()
    }

    /// Runs work that fetches from `archives`.
    pub(crate) fn fetch<'n, T>(
        &self,
        archives: impl IntoIterator<Item = &'n str>,
        progress: &Progress,
        work: impl FnOnce(&Fetcher) -> Result<T, FetchError>,
    ) -> Result<T, Failure> {
        let settings = fetch::Settings {
            offline: self.offline,
            ..Default::default()
        };
        let events = |event| progress.show(event);
        let done = Mirrors::find(archives, &self.mirrors)
            .and_then(|mirrors| work(&Fetcher::new(&self.cache, &mirrors, settings, &events)));
        progress.clear();
        done.map_err(|error| Failure::new(error.class(), &error).hint(error.hint()))
    }

    /// Every package of these systems as a file of the cache, by set; those are left out of the cache whose packs builds
    /// into `out` have made.
    pub(crate) fn packages(
        &self,
        lock: &Lock,
        plans: &[SystemPlan],
        out: &Path,
        progress: &Progress,
    ) -> Result<Debs, Failure> {
        let archives: Vec<&str> = lock
            .packages
            .values()
            .map(|package| package.archive.as_str())
            .collect();
        self.fetch(archives, progress, |fetcher| {
            let mut debs = Debs::new();
            // All sets in one go, so that downloads run side by side; what sets share is fetched once.
            let mut wanted = Vec::new();
            for plan in plans {
                wanted.extend(fetch::downloads(lock, &plan.set)?);
            }
            wanted.sort_by(|a, b| a.name.cmp(&b.name));
            wanted.dedup();
            // What was unpacked before is not read again, and need not be there any more.
            let known = Known::open(out);
            wanted.retain(|download| !self.is_unpacked(&download.sha256, &known));
            fetcher.fetch_all(&wanted)?;
            for plan in plans {
                let listed = fetch::downloads(lock, &plan.set)?;
                let deb = |download: &fetch::Download| {
                    let path = self.cache.path(&download.sha256);
                    prune::touch(&path);
                    Deb {
                        path,
                        sha256: download.sha256,
                        name: download.name.clone(),
                    }
                };
                debs.insert(plan.set.clone(), listed.iter().map(deb).collect());
            }
            Ok(debs)
        })
    }

    fn is_unpacked(&self, deb: &Digest, known: &Known) -> bool {
        let index = pack::index_of(&pack::path(self.cache(), deb));
        index.is_some_and(|index| known.vouches(deb, &index))
    }

    /// Those of these packages that have a pack.
    pub(crate) fn packs(&self, debs: &[Deb]) -> Vec<PathBuf> {
        debs.iter()
            .map(|deb| pack::path(self.cache(), &deb.sha256))
            .filter(|path| path.exists())
            .collect()
    }

    /// The programs of a system's Kubernetes distribution, where they go.
    pub(crate) fn programs(
        &self,
        project: &Project,
        plan: &SystemPlan,
        lock: &Lock,
        progress: &Progress,
    ) -> Result<Programs, Failure> {
        let wanted = &plan.distribution.artifacts;
        self.artifacts(project, wanted, progress, |fetcher, mirrors| {
            let paths = artifacts::fetch(fetcher, mirrors, wanted, lock)?;
            artifacts::programs(&self.cache, wanted, &paths)
        })
    }

    /// Pins the files that the systems' distributions need.
    pub(crate) fn lock_artifacts(
        &self,
        project: &Project,
        plans: &[SystemPlan],
        previous: Option<&Lock>,
        progress: &Progress,
    ) -> Result<BTreeMap<String, lock::Artifact>, Failure> {
        let wanted: BTreeMap<String, Wanted> = plans
            .iter()
            .flat_map(|plan| plan.distribution.artifacts.clone())
            .collect();
        self.artifacts(project, &wanted, progress, |fetcher, mirrors| {
            artifacts::lock(fetcher, mirrors, &wanted, previous)
        })
    }

    fn artifacts<T>(
        &self,
        project: &Project,
        wanted: &BTreeMap<String, Wanted>,
        progress: &Progress,
        work: impl FnOnce(&Fetcher, &Mirrors) -> Result<T, artifacts::Error>,
    ) -> Result<T, Failure> {
        let from = project
            .cluster
            .artifacts
            .as_ref()
            .map(|from| from.value.as_str());
        let folder = project.file.parent().unwrap_or(Path::new(""));
        let settings = fetch::Settings {
            offline: self.offline,
            ..Default::default()
        };
        let events = |event| progress.show(event);
        let done = artifacts::mirrors(from, folder, wanted, &self.mirrors)
            .map_err(artifacts::Error::from)
            .and_then(|mirrors| {
                work(
                    &Fetcher::new(&self.cache, &mirrors, settings, &events),
                    &mirrors,
                )
            });
        progress.clear();
        done.map_err(|error| Failure::new(error.class(), &error).hint(error.hint()))
    }
}
