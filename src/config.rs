//! The configuration file: what holds for every command of a host or a user.
//!
//! Read are `/etc/coracle/config.yaml` and then `$XDG_CONFIG_HOME/coracle/config.yaml`
//! (`~/.config/coracle/config.yaml`); what the second sets comes before the first, key by key. Neither has
//! to be there. `--config FILE`, else the environment variable `CORACLE_CONFIG`, names one file to be read
//! instead of both, and that one has to be there. A library user reads no file but sets fields.
//!
//! ```yaml
//! images:
//!   gc:                           # after a pull; without these nothing is removed by itself
//!     max_unused: 30d             # images that were not used for longer
//!     max_size: 20Gi              # least recently used first, until the store fits
//!   max_layer_size: 64Gi          # unpacked
//!   max_compression_ratio: 1000   # of a layer, unpacked to packed
//!   parallel_layers: 6            # worked on at once
//! jobs:
//!   max_concurrent: 8             # executions of all jobs at once; a job's own limit holds as well
//!   retention:                    # of ended executions, for jobs whose specs do not say
//!     ttl: 30d                    # those that ended longer ago are forgotten
//!     keep_last: 10000            # all but the newest so many of the root, whatever their job
//! ```
//! Sizes and lengths of time are written as in specs ([`parse_bytes`], [`parse_duration`]). Unknown keys and
//! bad values are errors with their file, line and column.

use crate::spec::{
    At, Fields, Problem, Retention, SpecErrors, parse_bytes, parse_duration, read_file, read_limit, read_retention,
};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Environment variable that names the file.
pub const CONFIG_VARIABLE: &str = "CORACLE_CONFIG";

const HOST_FILE: &str = "/etc/coracle/config.yaml";
/// Below the user's directory for configuration.
const USER_FILE: &str = "coracle/config.yaml";

/// More layers than that at once only wait for each other.
const MOST_PARALLEL: i64 = 64;

/// What the files set; `None` where they set nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `images.gc.max_unused`
    pub max_unused: Option<Duration>,
    /// `images.gc.max_size`, bytes
    pub max_size: Option<u64>,
    /// `images.max_layer_size`, bytes
    pub max_layer_size: Option<u64>,
    /// `images.max_compression_ratio`
    pub max_compression_ratio: Option<u32>,
    /// `images.parallel_layers`
    pub parallel_layers: Option<usize>,
    /// `jobs.max_concurrent`: executions of all jobs of the root at once
    pub max_concurrent: Option<u32>,
    /// `jobs.retention`: `ttl` for jobs without one of their own, `keep_last` over all executions of the root
    pub retention: Retention,
}

impl Config {
    /// Reads the files that apply; `explicit` is `--config`, `variable` looks up the environment.
    ///
    /// # Errors
    /// All that is wrong with the first file that cannot be used.
    pub fn load(explicit: Option<&Path>, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, SpecErrors> {
        Config::load_from(Path::new(HOST_FILE), explicit, variable)
    }

    fn load_from(
        host_file: &Path,
        explicit: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Config, SpecErrors> {
        let named = explicit.map(Path::to_owned).or_else(|| variable(CONFIG_VARIABLE).map(PathBuf::from));
        // Set to nothing is as good as not set.
        if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
            return Ok(read_file(&path, variable, read)?.unwrap_or_default());
        }
        let host = read_optional(host_file, variable)?;
        // The XDG base directory specification wants relative paths in these variables ignored.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let directory = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        let user = match directory {
            Some(directory) => read_optional(&directory.join(USER_FILE), variable)?,
            None => Config::default(),
        };
        Ok(user.over(host))
    }

    /// What this one sets, else what `other` does.
    fn over(self, other: Config) -> Config {
        Config {
            max_unused: self.max_unused.or(other.max_unused),
            max_size: self.max_size.or(other.max_size),
            max_layer_size: self.max_layer_size.or(other.max_layer_size),
            max_compression_ratio: self.max_compression_ratio.or(other.max_compression_ratio),
            parallel_layers: self.parallel_layers.or(other.parallel_layers),
            max_concurrent: self.max_concurrent.or(other.max_concurrent),
            retention: Retention {
                ttl: self.retention.ttl.or(other.retention.ttl),
                keep_last: self.retention.keep_last.or(other.retention.keep_last),
            },
        }
    }
}

fn read_optional(path: &Path, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, SpecErrors> {
    let is_missing = |errors: &SpecErrors| {
        errors.iter().any(|error| match &error.problem {
            // A file in the place of a directory above it is no configuration of ours.
            Problem::Read(error) => {
                matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
            }
            _ => false,
        })
    };
    match read_file(path, variable, read) {
        Err(errors) if is_missing(&errors) => Ok(Config::default()),
        result => Ok(result?.unwrap_or_default()),
    }
}

/// What is wrong is in the report of `root`, and the value is then not used.
fn read(root: &At) -> Config {
    let mut config = Config::default();
    let Some(mut fields) = root.fields("write `images:` or `jobs:` and settings below it") else { return config };
    if let Some(mut images) = fields.take("images").and_then(|at| at.fields("write settings below `images:`")) {
        read_images(&mut images, &mut config);
        images.finish();
    }
    if let Some(mut jobs) = fields.take("jobs").and_then(|at| at.fields("write settings below `jobs:`")) {
        config.max_concurrent = jobs.take("max_concurrent").and_then(|at| read_limit(&at));
        config.retention = jobs.take("retention").map(|at| read_retention(&at)).unwrap_or_default();
        jobs.finish();
    }
    fields.finish();
    config
}

fn read_images(images: &mut Fields, config: &mut Config) {
    if let Some(mut gc) = images.take("gc").and_then(|at| at.fields("write `max_unused:` or `max_size:` below it")) {
        config.max_unused = gc.take("max_unused").and_then(|at| at.parse(parse_duration));
        config.max_size = gc.take("max_size").and_then(|at| at.parse(parse_bytes));
        gc.finish();
    }
    config.max_layer_size = images.take("max_layer_size").and_then(|at| at.parse(parse_bytes));
    let whole = |at: At, most| at.integer("this number", 1..=most).and_then(|number| u32::try_from(number).ok());
    config.max_compression_ratio = images.take("max_compression_ratio").and_then(|at| whole(at, i64::from(u32::MAX)));
    let parallel = images.take("parallel_layers").and_then(|at| whole(at, MOST_PARALLEL));
    config.parallel_layers = parallel.and_then(|number| usize::try_from(number).ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Files {
            Files(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        }

        /// With `HOME` here and the host's file below it.
        fn load(&self, explicit: Option<&Path>, variables: &[(&str, &Path)]) -> Result<Config, String> {
            let variable = |name: &str| {
                let home = [("HOME", self.0.path())];
                let found = variables.iter().chain(&home).find(|(known, _)| *known == name);
                found.map(|(_, path)| path.as_os_str().to_owned())
            };
            Config::load_from(&self.0.path().join("etc.yaml"), explicit, &variable).map_err(|errors| errors.to_string())
        }
    }

    #[test]
    fn without_files_nothing_is_set() {
        let files = Files::new();
        assert_eq!(files.load(None, &[]), Ok(Config::default()));
        files.write("etc.yaml", "# nothing yet\n");
        // A file where a directory is looked for.
        files.write(".config", "");
        assert_eq!(files.load(None, &[]), Ok(Config::default()));
    }

    #[test]
    fn every_key_is_read() {
        let files = Files::new();
        files.write(
            "etc.yaml",
            "images:\n  gc: {max_unused: 30d, max_size: 20Gi}\n  max_layer_size: 64Gi\n  \
             max_compression_ratio: 500\n  parallel_layers: 4\n\
             jobs:\n  max_concurrent: 8\n  retention: {ttl: 7d, keep_last: 1000}\n",
        );
        let expected = Config {
            max_unused: Some(Duration::from_secs(30 * 86_400)),
            max_size: Some(20 << 30),
            max_layer_size: Some(64 << 30),
            max_compression_ratio: Some(500),
            parallel_layers: Some(4),
            max_concurrent: Some(8),
            retention: Retention { ttl: Some(Duration::from_secs(7 * 86_400)), keep_last: Some(1000) },
        };
        assert_eq!(files.load(None, &[]), Ok(expected));
    }

    #[test]
    fn the_users_keys_come_before_the_hosts() {
        let files = Files::new();
        files.write("etc.yaml", "images: {gc: {max_unused: 30d, max_size: 20Gi}}");
        files.write(".config/coracle/config.yaml", "images: {gc: {max_size: 1Gi}, parallel_layers: 2}");
        let config = files.load(None, &[]).unwrap();
        assert_eq!(config.max_unused, Some(Duration::from_secs(30 * 86_400)));
        assert_eq!((config.max_size, config.parallel_layers), (Some(1 << 30), Some(2)));
        files.write("xdg/coracle/config.yaml", "images: {parallel_layers: 3}");
        let xdg = files.0.path().join("xdg");
        let config = files.load(None, &[("XDG_CONFIG_HOME", &xdg)]).unwrap();
        assert_eq!((config.max_size, config.parallel_layers), (Some(20 << 30), Some(3)));
        let relative = files.load(None, &[("XDG_CONFIG_HOME", Path::new("xdg"))]).unwrap();
        assert_eq!(relative.parallel_layers, Some(2), "a relative directory is ignored");
        files.write("etc.yaml", "jobs: {max_concurrent: 8, retention: {ttl: 7d, keep_last: 9}}");
        files.write(".config/coracle/config.yaml", "jobs: {max_concurrent: 2, retention: {ttl: 1d}}");
        let config = files.load(None, &[]).unwrap();
        let retention = Retention { ttl: Some(Duration::from_secs(86_400)), keep_last: Some(9) };
        assert_eq!((config.max_concurrent, config.retention), (Some(2), retention));
    }

    #[test]
    fn a_named_file_stands_alone_and_must_be_there() {
        let files = Files::new();
        files.write("etc.yaml", "images: {gc: {max_unused: 30d}}");
        let named = files.write("named.yaml", "images: {parallel_layers: 2}");
        let other = files.write("other.yaml", "images: {parallel_layers: 3}");
        let only = |layers| Ok(Config { parallel_layers: Some(layers), ..Config::default() });
        assert_eq!(files.load(None, &[(CONFIG_VARIABLE, &named)]), only(2));
        assert_eq!(files.load(Some(&other), &[(CONFIG_VARIABLE, &named)]), only(3));
        let error = files.load(Some(Path::new("/no/such/config.yaml")), &[]).unwrap_err();
        assert!(error.contains("/no/such/config.yaml") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let files = Files::new();
        let path = files.write(
            "etc.yaml",
            "images:\n  gc: {max_unsed: 30d, max_size: 20GB}\n  parallel_layers: 0\n  max_layer_size:\nimage: {}\n\
             jobs: {max_concurrent: 0, retention: {ttl: long, keep_lst: 1}}\n",
        );
        let error = files.load(None, &[]).unwrap_err();
        let at = |place: &str| format!("{}:{place}", path.display());
        for expected in [
            at("2:8: images.gc.max_unsed: unknown field; did you mean \"max_unused\"?"),
            at("2:34: images.gc.max_size: \"20GB\" is not an amount of bytes"),
            at("3:20: images.parallel_layers: 0 is out of range"),
            "images.max_layer_size: expected text, found nothing".to_owned(),
            at("5:1: image: unknown field; did you mean \"images\"?"),
            at("6:24: jobs.max_concurrent: 0 is out of range: max_concurrent is 1 to 1000000"),
            at("6:44: jobs.retention.ttl: \"long\" is not a length of time"),
            at("6:50: jobs.retention.keep_lst: unknown field; did you mean \"keep_last\"?"),
        ] {
            assert!(error.contains(&expected), "no {expected:?} in\n{error}");
        }
        files.write("etc.yaml", "images: [");
        assert!(files.load(None, &[]).unwrap_err().contains("not valid YAML"));
        files.write("etc.yaml", "- images");
        assert!(files.load(None, &[]).unwrap_err().contains("expected a mapping"));
    }
}
