//! A program that was built without archives: it says how to build one with them.

use super::types::{Answer, Archive, Sender};
use crate::browse::list::ListRequest;
use crate::browse::search::SearchRequest;
use crate::failure::Failure;
use crate::scope::Limits;

fn absent(archive: &Archive) -> Result<Answer, Failure> {
    let message = format!("use the archive {}: this program was built without archives", archive.address);
    let build = "cargo build --release -p layer3-indexer --features archive";
    Err(Failure::new(message).hint(format!("`{build}` in Threefold's sources builds one with them")))
}

pub(crate) fn init(archive: &Archive, _: &[String]) -> Result<Answer, Failure> {
    absent(archive)
}

pub(crate) fn let_read(archive: &Archive, _: &str, _: bool) -> Result<Answer, Failure> {
    absent(archive)
}

pub(crate) fn push(archive: &Archive, _: &Sender<'_>, _: &dyn Fn(usize, usize)) -> Result<Answer, Failure> {
    absent(archive)
}

pub(crate) fn status(archive: &Archive, _: &Sender<'_>) -> Result<Answer, Failure> {
    absent(archive)
}

pub(crate) fn search(archive: &Archive, _: &Limits, _: &SearchRequest) -> Result<Answer, Failure> {
    absent(archive)
}

pub(crate) fn list(archive: &Archive, _: &Limits, _: &ListRequest) -> Result<Answer, Failure> {
    absent(archive)
}
