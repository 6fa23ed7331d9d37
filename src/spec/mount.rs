//! Storage: the `storage` list of a spec and the `--mount` flag.

use super::job::Storage;
use super::names::{host_path, identifier, mount_target};
use super::quantity::{mode, parse_bytes};
use super::reader::{At, Fields};
use super::value_error::ValueError;

/// The value of `--mount`, as `docker run` takes it
/// (<https://docs.docker.com/engine/storage/bind-mounts/#options-for---mount>): comma-separated
/// `type=bind|volume|tmpfs`, `src=`/`source=`, `dst=`/`destination=`/`target=`, `ro`/`readonly`,
/// `tmpfs-size=`, `tmpfs-mode=`. A volume without source is an anonymous one; the default type is
/// volume. A relative source of a bind starts from the current directory.
///
/// # Errors
/// Unknown, missing, repeated and meaningless keys, and unusable paths.
pub fn parse_mount(text: &str) -> Result<Storage, ValueError> {
    const KEYS: &[&str] =
        &["type", "source", "src", "target", "destination", "dst", "readonly", "ro", "tmpfs-size", "tmpfs-mode"];
    const WHAT: &str = "a mount";
    let mut fields: Vec<(&str, Option<&str>)> = Vec::new();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        let key = match key {
            "src" => "source",
            "dst" | "destination" => "target",
            "ro" => "readonly",
            known if KEYS.contains(&known) => known,
            unknown => return Err(ValueError::unknown("key of a mount", unknown, KEYS)),
        };
        if fields.iter().any(|(known, _)| *known == key) {
            return Err(ValueError::Duplicate { what: "key of a mount", name: key.to_owned() });
        }
        fields.push((key, value));
    }
    let mut take = |key: &str| {
        let index = fields.iter().position(|(known, _)| *known == key)?;
        Some(fields.remove(index).1)
    };
    let mut value = |key: &'static str| match take(key) {
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => Err(ValueError::Missing { what: key, field: "a value" }),
        None => Ok(None),
    };
    let kind = value("type")?.unwrap_or("volume");
    let target = value("target")?.ok_or(ValueError::Missing { what: WHAT, field: "target=PATH" })?;
    let target = mount_target(target)?;
    let storage = match kind {
        "bind" => {
            let source = value("source")?.ok_or(ValueError::Missing { what: "a bind mount", field: "source=PATH" })?;
            // Without a current directory only absolute sources work.
            let source = host_path(source, std::env::current_dir().ok().as_deref())?;
            Storage::Bind { source, target, readonly: flag(take("readonly"))? }
        }
        "volume" => match value("source")? {
            Some(name) => {
                Storage::Named { name: identifier("a volume name", name)?, target, readonly: flag(take("readonly"))? }
            }
            None => Storage::Anonymous { target },
        },
        "tmpfs" => Storage::Tmpfs {
            target,
            size: value("tmpfs-size")?.map(tmpfs_size).transpose()?,
            mode: value("tmpfs-mode")?.map(mode).transpose()?,
        },
        other => return Err(ValueError::unknown("type of mount", other, &["bind", "volume", "tmpfs"])),
    };
    let what = match storage {
        Storage::Bind { .. } => "a bind mount",
        Storage::Named { .. } => "a volume",
        Storage::Anonymous { .. } => "a volume without source",
        Storage::Tmpfs { .. } => "a tmpfs",
    };
    match fields.first() {
        Some((key, _)) => Err(ValueError::Meaningless { what, field: (*key).to_owned() }),
        None => Ok(storage),
    }
}

fn flag(value: Option<Option<&str>>) -> Result<bool, ValueError> {
    match value {
        None => Ok(false),
        Some(None | Some("true" | "1")) => Ok(true),
        Some(Some("false" | "0")) => Ok(false),
        Some(Some(other)) => Err(ValueError::Malformed {
            what: "a value of readonly",
            text: other.to_owned(),
            form: "readonly, readonly=true or readonly=false",
        }),
    }
}

fn tmpfs_size(text: &str) -> Result<u64, ValueError> {
    match parse_bytes(text)? {
        // The kernel takes 0 as "no limit", which nobody means by it.
        0 => {
            Err(ValueError::OutOfRange { what: "the size of a tmpfs", text: text.to_owned(), range: "above 0".into() })
        }
        size => Ok(size),
    }
}

impl Storage {
    /// Where it is mounted.
    pub fn target(&self) -> &str {
        match self {
            Storage::Bind { target, .. }
            | Storage::Named { target, .. }
            | Storage::Anonymous { target }
            | Storage::Tmpfs { target, .. } => target,
        }
    }
}

/// The `storage` list.
pub(super) fn read_storage(at: &At) -> Vec<Storage> {
    const HINT: &str = "write `- type: bind` items with their fields";
    let mut mounts: Vec<Storage> = Vec::new();
    for item in at.list(HINT).unwrap_or_default() {
        let Some(mount) = read_mount(&item) else { continue };
        if mounts.iter().any(|known| known.target() == mount.target()) {
            item.error(ValueError::Duplicate { what: "mount target", name: mount.target().to_owned() });
        }
        mounts.push(mount);
    }
    mounts
}

fn read_mount(item: &At) -> Option<Storage> {
    let mut fields = item.fields("write `type: bind`, `source:` and `target:`")?;
    let kind = fields
        .require("type", "one of bind, named, anonymous and tmpfs")
        .and_then(|at| at.choice("type of storage", &["bind", "named", "anonymous", "tmpfs"]));
    // Without a type the other fields cannot be judged.
    let kind = kind?;
    let target = fields.require("target", "an absolute path in the container").and_then(|at| at.parse(mount_target));
    let storage = match kind {
        "bind" => {
            let source = fields
                .require("source", "a path of the host")
                .and_then(|at| at.parse(|text| host_path(text, at.report.base)));
            let readonly = readonly(&mut fields);
            source.zip(target).map(|(source, target)| Storage::Bind { source, target, readonly })
        }
        "named" => {
            let name = fields
                .require("name", "the name of the volume")
                .and_then(|at| at.parse(|text| identifier("a volume name", text)));
            let readonly = readonly(&mut fields);
            if let Some(at) = fields.take("size")
                && at.parse(parse_bytes).is_some()
            {
                at.not_yet();
            }
            fields.meaningless(&["tier"]);
            name.zip(target).map(|(name, target)| Storage::Named { name, target, readonly })
        }
        "anonymous" => {
            fields.meaningless(&["tier"]);
            target.map(|target| Storage::Anonymous { target })
        }
        _ => {
            let size = fields.take("size").and_then(|at| at.parse(tmpfs_size));
            let mode = fields.take("mode").and_then(|at| at.parse(mode));
            target.map(|target| Storage::Tmpfs { target, size, mode })
        }
    };
    fields.finish();
    storage
}

fn readonly(fields: &mut Fields) -> bool {
    fields.take("readonly").and_then(|at| at.bool()).unwrap_or(false)
}
