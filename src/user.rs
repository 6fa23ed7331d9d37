//! Users and groups of an image, looked up as `docker run --user` does
//! (<https://docs.docker.com/reference/cli/docker/container/run/#user>): pure functions over the
//! texts of passwd(5) and group(5).

use crate::plan::UserRequest;

/// Largest id: 2³²−1 means "no change" to setresuid(2).
const MAX_ID: u32 = u32::MAX - 1;

/// The user does not exist in the image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("user {name:?} is not in the image's /etc/passwd; {}", known(names))]
    NoUser { name: String, names: Vec<String> },
    #[error("group {name:?} is not in the image's /etc/group; {}", known(names))]
    NoGroup { name: String, names: Vec<String> },
    #[error("{text:?} is no user or group id: ids go from 0 to {MAX_ID}")]
    BadId { text: String },
}

fn known(names: &[String]) -> String {
    match names {
        [] => "it lists none, so give a number".to_owned(),
        names => format!("it lists {}; or give a number", names.join(", ")),
    }
}

/// What a request means in one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, `gid` among them, without duplicates, ascending.
    pub additional_gids: Vec<u32>,
    /// Home directory; `/` when the image does not say.
    pub home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

/// Looks `request` up. A user given by number need not exist and is then in group 0, as with Docker.
/// Without an explicit group the user gets every group that lists its name.
///
/// # Errors
/// A name that the image does not know; a number that is no id.
pub fn resolve(request: &UserRequest, passwd: &str, group: &str) -> Result<ResolvedUser, UserError> {
    let (users, groups) = (parse_passwd(passwd), parse_group(group));
    let (user_part, group_part) = match request.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (request.user.as_str(), None),
    };
    let user_part = if user_part.is_empty() { "0" } else { user_part };
    let number = parse_id(user_part)?;
    let entry =
        users.iter().find(|user| user.name == user_part).or_else(|| users.iter().find(|user| Some(user.uid) == number));
    let (uid, mut gid, home) = match (entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Some(uid)) => (uid, 0, ""),
        (None, None) => {
            let names = users.iter().map(|user| user.name.to_owned()).collect();
            return Err(UserError::NoUser { name: user_part.to_owned(), names });
        }
    };
    let mut additional_gids: Vec<u32> = Vec::new();
    match group_part {
        Some(name) => gid = find_group(name, &groups)?,
        None => {
            let listed = |group: &&GroupEntry<'_>| entry.is_some_and(|user| group.members.contains(&user.name));
            additional_gids.extend(groups.iter().filter(listed).map(|group| group.gid));
        }
    }
    for name in &request.extra_groups {
        additional_gids.push(find_group(name, &groups)?);
    }
    // Or a set-group-id program could shed the group that a file denies access to (CVE-2022-36109).
    additional_gids.push(gid);
    additional_gids.sort_unstable();
    additional_gids.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(ResolvedUser { uid, gid, additional_gids, home: home.to_owned() })
}

fn find_group(name: &str, groups: &[GroupEntry<'_>]) -> Result<u32, UserError> {
    if let Some(group) = groups.iter().find(|group| group.name == name) {
        return Ok(group.gid);
    }
    parse_id(name)?.ok_or_else(|| UserError::NoGroup {
        name: name.to_owned(),
        names: groups.iter().map(|group| group.name.to_owned()).collect(),
    })
}

/// `None` for a name, an error for a number that is none of the ids.
fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(UserError::BadId { text: text.to_owned() }),
    }
}

/// Lines that are not whole entries are passed over, as the C library does.
fn parse_passwd(text: &str) -> Vec<PasswdEntry<'_>> {
    lines(text).filter_map(passwd_entry).collect()
}

fn passwd_entry(line: &str) -> Option<PasswdEntry<'_>> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
    Some(PasswdEntry { name, uid: entry_id(uid)?, gid: entry_id(gid)?, home })
}

fn parse_group(text: &str) -> Vec<GroupEntry<'_>> {
    lines(text).filter_map(group_entry).collect()
}

fn group_entry(line: &str) -> Option<GroupEntry<'_>> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, rest @ ..] = fields.as_slice() else { return None };
    let members = rest.first().map(|list| list.split(',').map(str::trim).collect()).unwrap_or_default();
    Some(GroupEntry { name, gid: entry_id(gid)?, members })
}

fn entry_id(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|id| *id <= MAX_ID)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "# users\nroot:x:0:0:root:/root:/bin/sh\nada:x:1000:100::/home/ada:/bin/sh\n\
                          broken\n4242:x:7:7::/odd:/\nnohome:x:8:8:::\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\naudio:x:29:ada, bob\nvideo:x:44:bob,ada\nshort:x:50\n";

    fn look(user: &str, extra: &[&str]) -> Result<(u32, u32, Vec<u32>, String), UserError> {
        let request =
            UserRequest { user: user.into(), extra_groups: extra.iter().map(|name| (*name).to_owned()).collect() };
        resolve(&request, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.additional_gids, user.home))
    }

    #[test]
    fn names_numbers_and_groups() {
        let ok = |uid, gid, gids: &[u32], home: &str| Ok((uid, gid, gids.to_vec(), home.to_owned()));
        assert_eq!(look("", &[]), ok(0, 0, &[0], "/root"));
        assert_eq!(look("ada", &[]), ok(1000, 100, &[29, 44, 100], "/home/ada"));
        assert_eq!(look("1000", &[]), ok(1000, 100, &[29, 44, 100], "/home/ada"));
        assert_eq!(look("ada:", &[]), ok(1000, 100, &[29, 44, 100], "/home/ada"));
        assert_eq!(look("ada:audio", &[]), ok(1000, 29, &[29], "/home/ada"));
        assert_eq!(look("ada:29", &["video", "29", "44"]), ok(1000, 29, &[29, 44], "/home/ada"));
        assert_eq!(look(":users", &[]), ok(0, 100, &[100], "/root"));
        assert_eq!(look("31337", &[]), ok(31337, 0, &[0], "/"));
        assert_eq!(look("31337:4", &[]), ok(31337, 4, &[4], "/"));
        assert_eq!(look("4242", &[]), ok(7, 7, &[7], "/odd"), "a name made of digits comes first");
        assert_eq!(look("nohome", &["short"]), ok(8, 8, &[8, 50], "/"));
    }

    #[test]
    fn unknown_names_and_impossible_numbers_are_errors() {
        let message = look("eve", &[]).unwrap_err().to_string();
        assert_eq!(
            message,
            "user \"eve\" is not in the image's /etc/passwd; it lists root, ada, 4242, nohome; or give a number"
        );
        assert!(matches!(look("ada:eve", &[]), Err(UserError::NoGroup { .. })));
        assert!(matches!(look("ada", &["eve"]), Err(UserError::NoGroup { .. })));
        assert!(matches!(look("4294967295", &[]), Err(UserError::BadId { .. })));
        assert!(matches!(look("-1", &[]), Err(UserError::NoUser { .. })));
        assert!(
            resolve(&UserRequest { user: "x".into(), extra_groups: vec![] }, "", "")
                .unwrap_err()
                .to_string()
                .contains("none")
        );
    }
}
