//! Names and paths: what the kernel, a shell or a file system would choke on is refused here.

use super::error::name_alone;
use super::value_error::ValueError;
use crate::naming::{ImageName, ReferenceError};
use std::path::{Path, PathBuf};

/// The longest string that `execve` takes, without its NUL: 32 pages of 4 KiB (`MAX_ARG_STRLEN`, execve(2)).
const LONGEST: usize = 32 * 4096 - 1;

/// Refuses what no system call takes: NUL bytes, and more than [`LONGEST`].
pub(super) fn c_string(what: &'static str, text: &str) -> Result<String, ValueError> {
    if text.contains('\0') {
        return Err(ValueError::Nul { what });
    }
    if text.len() > LONGEST {
        return Err(ValueError::TooLong { what, length: text.len(), most: LONGEST });
    }
    Ok(text.to_owned())
}

/// The name of a deployment, service, step or volume: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, as Docker names
/// containers (<https://docs.docker.com/reference/cli/docker/container/run/#name>), up to 128 bytes.
pub(super) fn identifier(what: &'static str, text: &str) -> Result<String, ValueError> {
    const MAX_LEN: usize = 128;
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && text.len() <= MAX_LEN && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    let form = "up to 128 letters, digits, `_`, `.` and `-`, a letter or digit first";
    Err(ValueError::Malformed { what, text: text.to_owned(), form })
}

/// A host name of RFC 1123 that fits the kernel's 64 bytes
/// (<https://www.rfc-editor.org/rfc/rfc1123#section-2>,
/// <https://man7.org/linux/man-pages/man2/sethostname.2.html>).
pub(super) fn hostname(text: &str) -> Result<String, ValueError> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    let form = "up to 64 letters, digits and `-`, in parts separated by dots";
    Err(ValueError::Malformed { what: "a host name", text: text.to_owned(), form })
}

/// A name for `/etc/hosts`: a host name of RFC 1123, or with underscores, which many resolvers take
/// and compose files are full of.
pub(super) fn host_alias(text: &str) -> Result<String, ValueError> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    let form = "letters, digits, `-` and `_`, in parts separated by dots";
    Err(ValueError::Malformed { what: "a host name", text: text.to_owned(), form })
}

/// The name of an environment variable: anything but empty, `=` and NUL, as execve(2) has it.
pub(super) fn env_name(text: &str) -> Result<String, ValueError> {
    if text.is_empty() {
        return Err(ValueError::Empty { what: "the name of an environment variable" });
    }
    if text.contains('=') {
        let form = "the name without `=`";
        let text = name_alone(text);
        return Err(ValueError::Malformed { what: "the name of an environment variable", text, form });
    }
    c_string("the name of an environment variable", text)
}

/// What tells one trigger of a job from another: 1 to 255 characters that can be seen, spaces among them.
///
/// # Errors
/// [`ValueError::Malformed`].
pub fn parse_idempotency_key(text: &str) -> Result<String, ValueError> {
    const MAX_LEN: usize = 255;
    let length = text.chars().count();
    if (1..=MAX_LEN).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    let form = "1 to 255 printable characters";
    Err(ValueError::Malformed { what: "an idempotency key", text: text.to_owned(), form })
}

/// The name of a label: anything but empty.
pub(super) fn label_name(text: &str) -> Result<String, ValueError> {
    if text.is_empty() {
        return Err(ValueError::Empty { what: "the name of a label" });
    }
    c_string("the name of a label", text)
}

/// `USER[:GROUP]`, each a name or a number; names are looked up in the image.
pub(super) fn user(text: &str) -> Result<String, ValueError> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if account(user) && group.is_none_or(account) {
        return Ok(text.to_owned());
    }
    Err(ValueError::Malformed {
        what: "a user",
        text: text.to_owned(),
        form: "USER or USER:GROUP, each a name or a number",
    })
}

/// A group's name or number.
pub(super) fn group(text: &str) -> Result<String, ValueError> {
    if account(text) {
        return Ok(text.to_owned());
    }
    Err(ValueError::Malformed { what: "a group", text: text.to_owned(), form: "a name or a number" })
}

/// A name that passwd(5) can hold, or an id; 2^32 - 1 means "no change" to the kernel.
fn account(text: &str) -> bool {
    if text.is_empty() || text.len() > 256 {
        return false;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u32>().is_ok_and(|id| id != u32::MAX);
    }
    !text.starts_with('-') && !text.chars().any(|c| c == ':' || c == '/' || c.is_whitespace() || c.is_control())
}

/// An absolute path in the container, without `..`; `.` and doubled slashes are taken out.
pub(super) fn container_path(text: &str) -> Result<String, ValueError> {
    // PATH_MAX counts the closing NUL.
    const MAX_LEN: usize = 4095;
    let text = c_string("a path", text)?;
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if !text.starts_with('/') || parts.contains(&"..") || text.len() > MAX_LEN {
        return Err(ValueError::Malformed {
            what: "a path in the container",
            text,
            form: "an absolute path without `..`",
        });
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Where something is mounted: a container path that we do not need ourselves.
pub(super) fn mount_target(text: &str) -> Result<String, ValueError> {
    let path = container_path(text)?;
    // runc refuses /proc as well: a job that chose what is there could fake its own confinement.
    let reserved = matches!(path.as_str(), "/" | "/proc" | "/sys" | "/dev") || path.starts_with("/proc/");
    if reserved {
        return Err(ValueError::Unsupported {
            what: "mount target",
            name: path,
            supported: "a path other than /, /sys, /dev and anything in /proc",
        });
    }
    Ok(path)
}

/// A path of the host; a relative one starts from `base`, and is refused without one.
pub(super) fn host_path(text: &str, base: Option<&Path>) -> Result<PathBuf, ValueError> {
    let malformed = |form| ValueError::Malformed { what: "a path of the host", text: text.to_owned(), form };
    if text.is_empty() {
        return Err(ValueError::Empty { what: "a path of the host" });
    }
    c_string("a path of the host", text)?;
    if text == "~" || text.starts_with("~/") {
        return Err(malformed("the home directory in full; `~` is the shell's"));
    }
    let path = Path::new(text);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let base = base.ok_or_else(|| malformed("an absolute path"))?;
    // Drops `.`; `..` stays, because it may cross a symbolic link.
    Ok(base.join(path).components().collect())
}

/// What an image's name looks like, for messages.
pub(super) const IMAGE_FORMS: &str =
    "[REGISTRY/]NAME[:TAG], oci:PATH[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REFERENCE]";

/// What follows the transport in the name of an image in local files; `None` for other images.
pub(super) fn local_image(text: &str) -> Option<&str> {
    ["oci:", "oci-archive:", "docker-archive:"].iter().find_map(|transport| text.strip_prefix(transport))
}

/// The same image whatever the current directory: with an absolute path, if it is in local files.
///
/// # Errors
/// [`ValueError::Image`]: also for a relative path whose directory cannot be written in an image's name.
pub(super) fn absolute_image(text: &str) -> Result<String, ValueError> {
    let name = ImageName::parse(text).map_err(ValueError::Image)?;
    if name.path().is_none() {
        return Ok(text.to_owned());
    }
    match name.absolute() {
        Ok(absolute) if absolute.path().is_some_and(Path::is_absolute) => Ok(absolute.to_string()),
        _ => Err(ValueError::Image(ReferenceError::NoAbsolutePath(text.to_owned()))),
    }
}

/// An image's name. Whether there is such an image is seen when it is used.
pub(super) fn image_name(text: &str) -> Result<String, ValueError> {
    let name = local_image(text).unwrap_or(text);
    if name.is_empty() {
        return Err(ValueError::Empty { what: "the name of an image" });
    }
    let path_may_hold_spaces = name.len() < text.len();
    if text.chars().any(|c| c.is_control() || (c.is_whitespace() && !path_may_hold_spaces)) {
        return Err(ValueError::Malformed { what: "the name of an image", text: text.to_owned(), form: IMAGE_FORMS });
    }
    ImageName::parse(text).map_err(ValueError::Image)?;
    Ok(text.to_owned())
}
