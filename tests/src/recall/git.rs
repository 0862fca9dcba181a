//! Reading a bare git directory, and hashes of texts, by git itself.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// What git prints.
pub(super) fn output(git_dir: &Path, args: &[&str]) -> io::Result<Vec<u8>> {
    let output = Command::new("git").arg("--git-dir").arg(git_dir).args(args).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("git {} in {}: {said}", args.join(" "), git_dir.display())));
    }
    Ok(output.stdout)
}

/// The contents of objects, each told with its place in `names`; of one that is missing, `None`.
pub(super) fn each_blob(
    git_dir: &Path,
    names: &[String],
    each: &mut dyn FnMut(usize, Option<Vec<u8>>) -> io::Result<()>,
) -> io::Result<()> {
    let mut git = Command::new("git");
    git.arg("--git-dir").arg(git_dir).args(["cat-file", "--batch"]);
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().expect("a pipe");
    let text = names.join("\n") + "\n";
    let asking = thread::spawn(move || input.write_all(text.as_bytes()));
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
    for n in 0..names.len() {
        let mut head = String::new();
        answers.read_line(&mut head)?;
        let length = head.split_whitespace().nth(2).and_then(|length| length.parse::<usize>().ok());
        let bytes = match length {
            Some(length) => {
                let mut bytes = vec![0; length + 1];
                answers.read_exact(&mut bytes)?;
                bytes.pop();
                Some(bytes)
            }
            None => None,
        };
        each(n, bytes)?;
    }
    asking.join().expect("asking does not panic")?;
    child.wait()?;
    Ok(())
}

/// The SHA-256 of each text, in hexadecimal digits: git's, of an object of a repository of that hash, is not of the text
/// alone, so the system's own program is asked.
pub(super) fn sha256<'t>(texts: impl Iterator<Item = &'t str>) -> io::Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let mut names = Vec::new();
    for (n, text) in texts.enumerate() {
        std::fs::write(folder.path().join(n.to_string()), text)?;
        names.push(n.to_string());
    }
    let mut hashes = Vec::new();
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let program: &[&str] = if is_there("sha256sum") { &["sha256sum"] } else { &["shasum", "-a", "256"] };
    for some in names.chunks(500) {
        let output = Command::new(program[0]).args(&program[1..]).args(some).current_dir(folder.path()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("{} failed", program[0])));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        hashes.extend(text.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)));
    }
    Ok(hashes)
}
