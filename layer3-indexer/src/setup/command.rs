//! The one command, `threefold`: a link to layer 3's program, in a folder on the `PATH`.
//!
//! What stands in its place and is not ours is never overwritten. Beside the programs stands where the link is and which
//! folders were made for it, so that it can be taken away from wherever it was put.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use layer1_prebackup::claude::shell::quoted_if_needed;
use layer1_prebackup::fs;
use layer1_prebackup::fs::platform::is_program;
use layer1_prebackup::names::{LAYER3, THREEFOLD};

use crate::failure::Context;
use crate::setup::Result;
use crate::setup::site::{Site, Standing, remove_if_empty};

/// Beside the installed programs: the link's path, then the folders that were made for it, a line each.
const RECORD: &str = "threefold-command";
/// Where links of a user's own programs lie, below the home.
const BIN_DIR: &str = ".local/bin";
/// The file that each shell reads when it starts, below the home.
const SHELL_FILES: [(&str, &str); 3] =
    [("bash", "~/.bashrc"), ("zsh", "~/.zshrc"), ("fish", "~/.config/fish/config.fish")];

/// The link as it should be, and what stands in its place.
#[derive(Debug)]
pub(crate) struct Link {
    /// Where.
    pub path: PathBuf,
    /// What is there.
    pub standing: Standing,
    target: PathBuf,
}

/// The link of a site: in this folder, else where it is already, else where a user's programs lie.
pub(crate) fn of_site(site: &Site, bin_dir: Option<&Path>) -> Result<Link> {
    let folder = match bin_dir {
        Some(dir) => Some(std::path::absolute(dir).context(format_args!("find {}", dir.display()))?),
        None => None,
    };
    let path = match folder {
        Some(folder) => folder.join(THREEFOLD),
        None => {
            // Of another home, whose programs came here with it, the folder is not there.
            let before = recorded(site)?.into_iter().next().filter(|link| link.parent().is_some_and(Path::is_dir));
            before.unwrap_or_else(|| site.places.home.join(BIN_DIR).join(THREEFOLD))
        }
    };
    let target = site.program(LAYER3);
    let standing = standing(&path, &target)?;
    Ok(Link { path, standing, target })
}

impl Link {
    /// Makes the link, unless another's file stands there. Returns what was done, for people; empty if nothing was to do.
    pub(crate) fn install(&self, site: &Site) -> Result<String> {
        let path = self.path.display();
        match self.standing {
            Standing::Same => return record(site, &self.path, &[]).map(|()| String::new()),
            Standing::Theirs => {
                return Ok(format!(
                    "left {path} alone: it is not of this installation; --bin-dir DIR puts the command elsewhere, --no-bin leaves it out"
                ));
            }
            Standing::Ours => drop(fs::remove_file(&self.path)?),
            Standing::Absent => {}
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let made: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        let linked = std::fs::create_dir_all(folder).and_then(|()| symlink(&self.target, &self.path));
        if let Err(why) = linked {
            return Ok(format!("the command could not be put at {path} ({why}); --bin-dir DIR puts it elsewhere"));
        }
        record(site, &self.path, &made)?;
        Ok(format!("linked {path}: the command for everything"))
    }

    /// What is left to do so that a shell finds the command, for people; empty if nothing is.
    pub(crate) fn path_hint(&self, site: &Site) -> String {
        if self.standing == Standing::Theirs {
            return String::new();
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let path = site.variable("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join(THREEFOLD)).find(|file| is_program(file));
        match found.map(|found| (leads_to(&found, &self.target), found)) {
            Some((true, _)) => String::new(),
            Some((false, other)) if std::env::split_paths(&path).any(|dir| dir == folder) => {
                format!("another program comes first on the PATH: {}", other.display())
            }
            _ => path_line(folder, site),
        }
    }
}

/// Takes away the link that an installation made, and the folders that were made for it. Returns what was done, for
/// people; empty if nothing was to do.
pub(crate) fn uninstall(site: &Site) -> Result<String> {
    let lines = recorded(site)?;
    let Some((link, made)) = lines.split_first() else { return Ok(String::new()) };
    let is_ours = matches!(standing(link, &site.program(LAYER3))?, Standing::Same | Standing::Ours);
    if is_ours {
        fs::remove_file(link)?;
        made.iter().try_for_each(|folder| remove_if_empty(folder))?;
    }
    fs::remove_file(&site.program(RECORD))?;
    Ok(if is_ours { format!("removed {}", link.display()) } else { String::new() })
}

/// The link that an installation made, if one stands there.
pub(crate) fn installed(site: &Site) -> Result<Option<PathBuf>> {
    let link = recorded(site)?.into_iter().next();
    Ok(link.filter(|link| leads_to(link, &site.program(LAYER3))))
}

fn standing(path: &Path, target: &Path) -> Result<Standing> {
    match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Standing::Absent);
        }
        Err(error) => return Err(error).context(format_args!("look at {}", path.display())),
        Ok(_) => {}
    }
    // One that cannot be read is no link.
    let Ok(there) = std::fs::read_link(path) else { return Ok(Standing::Theirs) };
    let there = path.parent().unwrap_or(Path::new("/")).join(there);
    let is_of_some_installation = there.file_name().is_some_and(|name| name == LAYER3);
    Ok(if there == target || leads_to(path, target) {
        Standing::Same
    } else if is_of_some_installation && !there.exists() {
        Standing::Ours
    } else {
        Standing::Theirs
    })
}

fn leads_to(link: &Path, target: &Path) -> bool {
    let end = |path: &Path| std::fs::canonicalize(path).ok();
    end(link).is_some_and(|there| Some(there) == end(target))
}

fn recorded(site: &Site) -> Result<Vec<PathBuf>> {
    let path = site.program(RECORD);
    let bytes = fs::read_foreign(&path, RECORD_BYTES_MAX)?.unwrap_or_default();
    let text = String::from_utf8(bytes).context(format_args!("read {}", path.display()))?;
    Ok(text.lines().filter(|line| line.starts_with('/')).map(PathBuf::from).collect())
}

/// A path, and the folders that were made for it.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// Notes the link and what was made for it. What was made for it before stays noted.
fn record(site: &Site, link: &Path, made: &[&Path]) -> Result<()> {
    let before = recorded(site)?;
    if before.first().is_some_and(|before| before == link) && made.is_empty() {
        return Ok(());
    }
    let made_before = before.iter().skip(1).map(PathBuf::as_path);
    let lines = std::iter::once(link).chain(made.iter().copied()).chain(made_before);
    let text: String = lines.map(|path| format!("{}\n", path.display())).collect();
    Ok(fs::replace_file(&site.program(RECORD), text.as_bytes())?)
}

/// What makes the user's shell find programs in a folder.
fn path_line(folder: &Path, site: &Site) -> String {
    let folder = in_shell(folder, &site.places.home);
    let shell = site.variable("SHELL").map(PathBuf::from).unwrap_or_default();
    let name = shell.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = SHELL_FILES.iter().find(|(shell, _)| *shell == name).map_or("~/.profile", |(_, file)| file);
    let line = match name.as_str() {
        "fish" => format!("fish_add_path {folder}"),
        _ => format!("export PATH={folder}:\"$PATH\""),
    };
    format!("`threefold` is not on your PATH yet; add this line to {file}, then open a new terminal:\n  {line}")
}

/// A folder as a word of a shell, below the home without its name.
fn in_shell(folder: &Path, home: &Path) -> String {
    match folder.strip_prefix(home) {
        Ok(rest) => format!("\"$HOME\"/{}", quoted_if_needed(&rest.display().to_string())),
        Err(_) => quoted_if_needed(&folder.display().to_string()),
    }
}
