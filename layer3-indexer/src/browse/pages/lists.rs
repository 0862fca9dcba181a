//! The two pages that lead to all others: by project, and by time. As hardened as those: see `export`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use layer1_prebackup::config::size::Size;

use super::kept::{BY_PROJECT, BY_TIME, Page};
use crate::browse::export::{self, HEAD};
use crate::terminal::time::{Clock, parse_rfc3339_ms};
use crate::terminal::{count, short_id};

/// Pages under the heading that they stand below.
type Group<'p> = (String, Vec<&'p Page>);

/// Writes the page of all pages by project: that first in which something was said last.
pub(super) fn by_project(out: &mut dyn Write, pages: &[Page]) -> io::Result<()> {
    let mut of: BTreeMap<&str, Vec<&Page>> = BTreeMap::new();
    for page in newest_first(pages) {
        of.entry(&page.label).or_default().push(page);
    }
    let mut groups: Vec<Group<'_>> = of.into_iter().map(|(label, pages)| (label.to_owned(), pages)).collect();
    groups.sort_by(|(_, a), (_, b)| b[0].timestamp_end.cmp(&a[0].timestamp_end));
    list(out, &groups, (BY_TIME, "By time"), false)
}

/// Writes the page of all pages by the month in which something was said last.
pub(super) fn by_time(out: &mut dyn Write, pages: &[Page]) -> io::Result<()> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for page in newest_first(pages) {
        let month = when(page).map_or("Without a time".to_owned(), |day| day.chars().take(7).collect());
        match groups.last_mut() {
            Some((last, pages)) if *last == month => pages.push(page),
            _ => groups.push((month, vec![page])),
        }
    }
    list(out, &groups, (BY_PROJECT, "By project"), true)
}

fn newest_first(pages: &[Page]) -> Vec<&Page> {
    let mut pages: Vec<&Page> = pages.iter().collect();
    pages.sort_by(|a, b| b.timestamp_end.cmp(&a.timestamp_end).then_with(|| a.session_id.cmp(&b.session_id)));
    pages
}

/// In the machine's time zone, to the minute.
fn when(page: &Page) -> Option<String> {
    Some(Clock::LOCAL.minute(parse_rfc3339_ms(page.timestamp_end.as_deref()?)?))
}

fn list(out: &mut dyn Write, groups: &[Group<'_>], other: (&str, &str), names_project: bool) -> io::Result<()> {
    let mut page = export::Page::new(io::BufWriter::new(out));
    let all = count(groups.iter().map(|(_, pages)| pages.len() as u64).sum(), "conversation");
    page.raw(HEAD)?;
    page.fill("Conversations</title>\n</head>\n<body>\n<header>\n<h1>Conversations</h1>\n", &[])?;
    page.fill("<p>{} · <a href=\"{}\">{}</a></p>\n</header>\n<main>\n", &[&all, other.0, other.1])?;
    for (n, (heading, pages)) in groups.iter().enumerate() {
        page.fill(
            "<section id=\"n-{}\">\n<h2 class=\"group\">{}</h2>\n<ul class=\"list\">\n",
            &[&n.to_string(), heading],
        )?;
        for entry in pages {
            let Some(path) = entry.path() else { continue };
            page.fill("<li><a href=\"{}\" dir=\"auto\">{}</a>", &[&address(&path.to_string_lossy()), &entry.title])?;
            let (messages, size) = (count(entry.messages, "message"), Size(entry.bytes).to_string());
            let project = Some(entry.label.clone()).filter(|_| names_project);
            let gone = entry.is_gone.then(|| "no longer in the backup".to_owned());
            let told = [when(entry), project, Some(messages), Some(size), Some(short_id(&entry.session_id)), gone];
            let told: Vec<String> = told.into_iter().flatten().collect();
            page.fill("<br><span class=\"size\">{}</span></li>\n", &[&told.join(" · ")])?;
        }
        page.raw("</ul>\n</section>\n")?;
    }
    page.raw("</main>\n<nav id=\"n-groups\">\n<ul>\n")?;
    for (n, (heading, pages)) in groups.iter().enumerate() {
        let markup = "<li><a href=\"#n-{}\">{}</a> ({})</li>\n";
        page.fill(markup, &[&n.to_string(), heading, &pages.len().to_string()])?;
    }
    page.raw(
        "</ul>\n</nav>\n<footer>\n<p>Exported by Threefold from a verified backup.</p>\n</footer>\n</body>\n</html>\n",
    )?;
    page.finish("")
}

/// A path within the folder as a link to it: nothing in it means anything but itself.
fn address(path: &str) -> String {
    let mut address = String::new();
    for b in path.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => address.push(char::from(b)),
            b => address.push_str(&format!("%{b:02X}")),
        }
    }
    // What begins with a dash or a word and a colon is a path all the same.
    format!("./{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_listed_by_project_and_by_month_and_nothing_in_them_is_markup() {
        let page = |id: &str, label: &str, end: &str| Page {
            project: "proj".to_owned(),
            session_id: format!("{id}-0000-4000-8000-000000000001"),
            title: "<script>alert(1)</script>\"'".to_owned(),
            label: label.to_owned(),
            timestamp_end: Some(end.to_owned()),
            messages: 2,
            bytes: 3000,
            made_from: String::new(),
            is_gone: id == "aaaaaaaa",
            has_notes: false,
            is_begun: false,
        };
        let pages = [
            page("aaaaaaaa", "old", "2026-10-30T10:00:00.000Z"),
            page("bbbbbbbb", "<b>new", "2026-11-22T10:00:00.000Z"),
            page("cccccccc", "old", "2026-11-20T10:00:00.000Z"),
        ];
        let written = |list: fn(&mut dyn Write, &[Page]) -> io::Result<()>| {
            let mut out = Vec::new();
            list(&mut out, &pages).unwrap();
            let page = String::from_utf8(out).unwrap();
            assert!(!page.contains("<script") && !page.contains("<b>new"), "{page}");
            let links = page.split("<li><a href=\"./proj/").skip(1).map(|rest| rest[..8].to_owned());
            (links.collect::<Vec<_>>(), page)
        };
        let (links, page) = written(by_project);
        assert_eq!(links, ["bbbbbbbb", "cccccccc", "aaaaaaaa"]);
        assert_eq!(page.matches("no longer in the backup").count(), 1);
        let (links, page) = written(by_time);
        assert_eq!(links, ["bbbbbbbb", "cccccccc", "aaaaaaaa"]);
        assert!(
            page.contains(">2026-11</h2>") && page.contains(">2026-10</h2>") && page.contains(" · old · "),
            "{page}"
        );
    }

    #[test]
    fn a_path_is_nothing_but_a_path() {
        assert_eq!(address("-home-x/a b.html"), "./-home-x/a%20b.html");
        assert_eq!(address("javascript:x/\"?#"), "./javascript%3Ax/%22%3F%23");
    }
}
