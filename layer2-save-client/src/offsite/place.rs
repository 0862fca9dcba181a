//! The place: an address as `restic` takes it, and the repositories in it, one a machine.

use std::path::{Path, PathBuf};

/// The repository of the cards, by which the machines of a place know each other.
pub(crate) const MACHINES: &str = "_machines";
/// What `restic` can reach; everything else is a path.
const SCHEMES: [&str; 8] = ["sftp:", "rest:", "s3:", "b2:", "azure:", "gs:", "swift:", "rclone:"];
/// Longest name of a machine, in bytes.
const NAME_BYTES_MAX: usize = 40;

/// A place that is none, or a name that is none. Nothing was done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("use {0}")]
pub(crate) struct Unusable(String);

/// Where the repositories lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(String);

impl Place {
    /// Of what was typed; `~/` is the home. An address that holds a password is refused: every user of the machine
    /// can see it while `restic` runs.
    pub(crate) fn parse(text: &str, home: &Path) -> Result<Place, Unusable> {
        let refuse = |why: &str| Err(Unusable(format!("the place {:?}: {why}", without_password(text))));
        if text.chars().any(char::is_control) || text.starts_with('-') {
            return refuse("it must be an address or a path");
        }
        let trimmed = text.trim_end_matches('/');
        if let Some(scheme) = SCHEMES.iter().find(|scheme| text.starts_with(*scheme)) {
            if trimmed.len() == scheme.len() {
                return refuse("nothing stands behind the colon");
            }
            if without_password(text) != text {
                return refuse("leave the password out; RESTIC_REST_PASSWORD in offsite_env_file is for it");
            }
            return Ok(Place(trimmed.to_owned()));
        }
        let path = match text.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(text.strip_prefix("local:").unwrap_or(text)),
        };
        match path.to_str() {
            Some(path) if path.starts_with('/') && !path.trim_end_matches('/').is_empty() => {
                Ok(Place(path.trim_end_matches('/').to_owned()))
            }
            _ => refuse(
                "it must be an absolute path such as /media/usb/threefold, or an address such as \
                 sftp:HOST:PATH, rest:https://HOST/, s3:HOST/BUCKET",
            ),
        }
    }

    /// The address of a repository in it.
    pub(crate) fn repository(&self, name: &str) -> String {
        let place = &self.0;
        let is_bucket_alone = ["b2:", "azure:", "gs:", "swift:"].iter().any(|scheme| place.starts_with(scheme))
            && place.matches(':').count() == 1;
        match place.ends_with(':') {
            true => format!("{place}{name}"),
            false if is_bucket_alone => format!("{place}:{name}"),
            false => format!("{place}/{name}"),
        }
    }

    /// The directory, where it is one of this machine's.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.0.starts_with('/').then(|| Path::new(&self.0))
    }

    /// Whether its repositories lie in a bucket that `restic` would make.
    pub(crate) fn is_of_buckets(&self) -> bool {
        self.0.starts_with("s3:")
    }

    /// As it is written down and shown.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name for a machine: lower-case letters, digits and hyphens, so that it can stand in any address and on any disk.
pub(crate) fn machine_name(text: &str) -> Result<&str, Unusable> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = text.len() <= NAME_BYTES_MAX && !text.starts_with('-') && !text.is_empty() && text.bytes().all(is_plain);
    let rule = "it must be 1 to 40 lower-case letters, digits and hyphens, such as laptop";
    if fits { Ok(text) } else { Err(Unusable(format!("the name {text:?}: {rule}"))) }
}

/// An address without the password in it.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    match authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
        Some((user, password)) => format!("{scheme}://{user}{}", &rest[user.len() + 1 + password.len()..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_a_repository_of_its_own_in_a_place() {
        let check = |place: &str, repository: &str| {
            let place = Place::parse(place, Path::new("/h")).unwrap();
            assert_eq!(place.repository("laptop"), repository);
        };
        check("/media/usb/", "/media/usb/laptop");
        check("~/usb", "/h/usb/laptop");
        check("local:/media/usb", "/media/usb/laptop");
        check("sftp:backup:threefold", "sftp:backup:threefold/laptop");
        check("sftp:backup:", "sftp:backup:laptop");
        check("sftp:backup:/srv/x/", "sftp:backup:/srv/x/laptop");
        check("sftp://me@backup:2222//srv", "sftp://me@backup:2222//srv/laptop");
        check("rest:https://me@host/me/", "rest:https://me@host/me/laptop");
        check("s3:http://127.0.0.1:9000/bucket", "s3:http://127.0.0.1:9000/bucket/laptop");
        check("b2:bucket", "b2:bucket:laptop");
        check("gs:bucket:/deep", "gs:bucket:/deep/laptop");
        check("rclone:remote:x", "rclone:remote:x/laptop");
    }

    #[test]
    fn what_is_no_place_or_tells_a_password_is_refused() {
        let refused = |place: &str| Place::parse(place, Path::new("/h")).unwrap_err().to_string();
        for wrong in ["usb", "", "/", "sftp:", "--help", "ftp:host", "rest:\n", "./x"] {
            assert!(refused(wrong).starts_with("use the place"), "{wrong}");
        }
        let told = refused("rest:https://me:hunter2@host:8000/x:y@z");
        insta::assert_snapshot!(told, @r#"use the place "rest:https://me@host:8000/x:y@z": leave the password out; RESTIC_REST_PASSWORD in offsite_env_file is for it"#);
    }

    #[test]
    fn a_machine_s_name_can_stand_anywhere() {
        for good in ["laptop", "work-2", "9"] {
            assert_eq!(machine_name(good), Ok(good));
        }
        for wrong in ["", "-x", "Laptop", "a b", "a/b", "..", "_machines", &"x".repeat(41)] {
            assert!(machine_name(wrong).is_err(), "{wrong}");
        }
    }
}
