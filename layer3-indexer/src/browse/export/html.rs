//! One HTML page with everything in it: no scripts, no network, long outputs folded with `<details>`
//! (which browsers open by themselves for a search in the page and for a link to a message).
//!
//! Nothing of a transcript is markup here: see `page`, through which everything is written. A policy
//! in the page forbids scripts and loads, should something slip through all the same.

use std::io::{self, Write};

use super::call::{Argument, Body, Call, Question};
use super::diff::{self, Fate};
use super::marks::Voice;
use super::page::Page;
use super::pictures::Picture;
use super::prose::prose;
use super::renderer::{Header, MessageHeader, Part, Renderer, Row, Speaker};
use super::text::{Parts, Sanitized, Sanitizer};
use crate::terminal::count;

/// Longest glimpse of a result in its folded line, in characters.
const GLIMPSE_CHARS_MAX: usize = 140;
/// Longest line of a prompt in the index, in characters.
const PROMPT_CHARS_MAX: usize = 90;
/// Kinds of tools that the index counts for a prompt.
const TOOLS_COUNTED_MAX: usize = 12;
/// Prompts in the index of a page.
const PROMPTS_MAX: usize = 5_000;
/// A result of so many lines and characters is open,
const OPEN_LINES_MAX: usize = 12;
const OPEN_CHARS_MAX: usize = 1_500;
/// but not of these tools: what they say of a success, the call says better.
const QUIET: [&str; 7] = ["AskUserQuestion", "Edit", "MultiEdit", "NotebookEdit", "Read", "TodoWrite", "Write"];
/// What is written, or changed, is open up to so many lines.
const OPEN_CHANGES_MAX: usize = 200;
/// What Claude Code tells the model of its agent has so many characters at most.
const OF_AGENT_CHARS_MAX: usize = 1_000;
/// Arguments are shown at once if there are at most so many, each on one line, in so many characters together.
const SHORT_ARGUMENTS_MAX: usize = 6;
const SHORT_ARGUMENTS_CHARS_MAX: usize = 160;
/// Those who answer in Markdown.
const IN_MARKDOWN: [&str; 3] = ["Agent", "Task", "WebFetch"];

/// The head of every page, up to its title.
pub(crate) const HEAD: &str = concat!(
    "<!doctype html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; ",
    "base-uri 'none'; form-action 'none'\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<meta name=\"color-scheme\" content=\"light dark\">\n",
    "<meta name=\"referrer\" content=\"no-referrer\">\n",
    "<meta name=\"robots\" content=\"noindex\">\n",
    "<meta name=\"generator\" content=\"Threefold\">\n<style>\n",
    include_str!("page.css"),
    "</style>\n<title>"
);

/// What is shown can be chosen without a script: the style of the page looks whether these are checked.
const CHOICE: &str = concat!(
    "<p class=\"choice\">Show <label><input type=\"checkbox\" id=\"n-tools\" autocomplete=\"off\" checked=\"\"> tools</label> ",
    "<label><input type=\"checkbox\" id=\"n-thoughts\" autocomplete=\"off\" checked=\"\"> thinking</label></p>\n"
);

/// Writes the page.
pub(super) struct Html<W: Write> {
    page: Page<W>,
    /// Of the message that is being written, until its first part stands there.
    due: Option<MessageHeader>,
    /// Whether a result at its call has the anchor of the message.
    is_anchored: bool,
    /// A prompt that is not in the index yet.
    unlisted: Option<MessageHeader>,
    /// Whether an article is open; a result goes to its call and needs none.
    is_open: bool,
    /// Who says the message.
    voice: Voice,
    /// Those two of the messages that subagents are within.
    outer: Vec<(bool, Voice)>,
    day: String,
    prompts: Vec<Prompt>,
    more_prompts: u64,
}

/// A line of the index.
struct Prompt {
    anchor: String,
    words: Sanitized<'static>,
    time: String,
    /// The tools that were used for it, and how often.
    tools: Vec<(Sanitized<'static>, u64)>,
}

impl<W: Write> Html<W> {
    pub(crate) fn new(out: W) -> Html<W> {
        let page = Page::new(out);
        Html {
            page,
            due: None,
            is_anchored: false,
            unlisted: None,
            is_open: false,
            voice: Voice::Other,
            outer: Vec::new(),
            day: String::new(),
            prompts: Vec::new(),
            more_prompts: 0,
        }
    }

    fn pre(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        // A line that is too wide for every screen is read better broken.
        let is_one_line = !parts.head.trim_end().contains('\n');
        self.page.raw(if is_one_line { "<pre class=\"one\">" } else { "<pre>" })?;
        self.page.fill("{}</pre>", &[parts.head])?;
        if parts.left_out > 0 {
            self.left_out(parts.left_out)?;
            self.page.fill("<pre>{}</pre>", &[parts.tail])?;
        }
        Ok(())
    }

    fn left_out(&mut self, chars: usize) -> io::Result<()> {
        let cut = "<p class=\"cut\">… {} characters are left out here; <code>--full</code> exports them …</p>";
        self.page.fill(cut, &[&chars.to_string()])
    }

    fn marked_up(&mut self, text: &str, voice: Voice) -> io::Result<()> {
        prose(&mut self.page, text, voice)
    }

    /// Markdown of a model that may be too long.
    fn marked_up_parts(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        self.marked_up(parts.head, Voice::Model)?;
        if parts.left_out > 0 {
            self.left_out(parts.left_out)?;
            self.marked_up(parts.tail, Voice::Model)?;
        }
        Ok(())
    }

    /// What a folded text is shown as: its size and its beginning.
    fn glimpse(&mut self, text: &Sanitized<'_>) -> io::Result<()> {
        let beginning = text.headline(GLIMPSE_CHARS_MAX);
        let markup = " <span class=\"size\">{}</span><span class=\"glimpse\">{}</span></summary>";
        self.page.fill(markup, &[&size(text), beginning.as_str()])
    }

    fn folded(&mut self, what: &str, text: &Sanitized<'_>, voice: Voice) -> io::Result<()> {
        self.page.fill("<details class=\"thinking\"><summary>{}", &[what])?;
        self.glimpse(text)?;
        self.raw("\n")?;
        self.marked_up(text.as_str(), voice)?;
        self.raw("</details>\n")
    }

    fn raw(&mut self, markup: &'static str) -> io::Result<()> {
        self.page.raw(markup)
    }

    /// Writes the head of the message before the first of its parts that stands by itself.
    fn open(&mut self) -> io::Result<()> {
        let Some(message) = self.due.take() else { return Ok(()) };
        self.is_open = true;
        if let Some(time) = message.time.as_ref().filter(|time| self.outer.is_empty() && time.day != self.day) {
            self.page.fill("<p class=\"day\">{}</p>\n", &[&time.day])?;
            self.day.clone_from(&time.day);
        }
        let speaker = message.speaker.name();
        let anchor = &match self.is_anchored {
            true => on(&message.anchor),
            false => message.anchor,
        };
        let (mut class, mut name) = match message.goes_on {
            true => (format!("{} on", speaker.to_lowercase()), String::new()),
            false => (speaker.to_lowercase(), format!("{speaker} ")),
        };
        if message.is_rewound {
            class.push_str(" rewound");
            name.push_str(if message.goes_on { "" } else { "(rewound) " });
        }
        self.page.fill("<article class=\"{}\" id=\"{}\">\n<h2>{}<a href=\"#{}\"", &[&class, anchor, &name, anchor])?;
        let cost = message.cost.as_ref().map_or("", Sanitized::as_str);
        match &message.time {
            Some(time) => {
                let seconds = format!("{} {}", time.day, time.clock);
                let told: Vec<&str> = [seconds.as_str(), cost].into_iter().filter(|text| !text.is_empty()).collect();
                self.page.fill(" title=\"{}\">", &[&told.join(" · ")])?;
                match message.goes_on {
                    true => self.raw("#")?,
                    false => self.page.fill("<time datetime=\"{}\">{}</time>", &[&time.exact, &time.clock])?,
                }
            }
            None => self.raw(">#")?,
        }
        self.raw("</a></h2>\n")
    }

    fn result(&mut self, part: &Part<'_>, sanitizer: &mut Sanitizer) -> io::Result<()> {
        let Part::Result { call, tool, text, is_error, is_answered, pictures } = part else { return Ok(()) };
        let is_at_call = call.is_some_and(|call| self.page.go_to_place(call));
        if *is_answered {
            return self.page.leave_place();
        }
        let anchor = self.due.as_ref().filter(|due| due.is_result && !self.is_anchored).map(|due| due.anchor.clone());
        match anchor.filter(|_| is_at_call) {
            Some(anchor) => {
                self.is_anchored = true;
                self.page.fill("<div class=\"answer\" id=\"{}\">\n", &[&anchor])?;
            }
            None if is_at_call => self.raw("<div class=\"answer\">\n")?,
            None => self.open()?,
        }
        let tool = tool.as_ref().map_or("", Sanitized::as_str);
        if pictures.is_empty() || *is_error || !text.as_str().trim().is_empty() {
            let of = if is_at_call || tool.is_empty() { String::new() } else { format!(" of {tool}") };
            self.answer(tool, &of, text, *is_error, sanitizer)?;
        }
        for picture in pictures {
            self.picture(picture)?;
        }
        if is_at_call {
            self.raw("</div>\n")?;
            self.page.leave_place()?;
        }
        Ok(())
    }

    fn answer(
        &mut self,
        tool: &str,
        of: &str,
        text: &Sanitized<'_>,
        is_error: bool,
        sanitizer: &mut Sanitizer,
    ) -> io::Result<()> {
        let is_prose = IN_MARKDOWN.contains(&tool) && !is_error;
        let is_short = text.as_str().len() <= OPEN_CHARS_MAX && text.as_str().lines().count() <= OPEN_LINES_MAX;
        let is_open = (is_error || !QUIET.contains(&tool)) && (is_short || is_prose);
        self.raw(match (is_error, is_open) {
            (true, true) => "<details class=\"result error\" open><summary>error",
            (true, false) => "<details class=\"result error\"><summary>error",
            (false, true) => "<details class=\"result\" open><summary>result",
            (false, false) => "<details class=\"result\"><summary>result",
        })?;
        self.page.fill("{}", &[of])?;
        self.glimpse(text)?;
        if is_prose {
            // Behind it stands what Claude Code tells the model of its agent.
            let (answer, of_agent) = text.split_at_line("agentId: ");
            let is_short = of_agent.as_str().chars().count() <= OF_AGENT_CHARS_MAX;
            let answer = if is_short { &answer } else { text };
            self.marked_up_parts(&sanitizer.parts(answer))?;
            if is_short && !of_agent.as_str().is_empty() {
                let of_agent = of_agent.headline(OF_AGENT_CHARS_MAX);
                self.page.fill("<p class=\"other\">{}</p>\n", &[of_agent.as_str()])?;
            }
        } else {
            self.pre(&sanitizer.parts(text))?;
        }
        self.raw("</details>\n")
    }

    fn picture(&mut self, picture: &Picture<'_>) -> io::Result<()> {
        match picture {
            Picture::Data { media_type, data } => {
                let markup = "<p><img alt=\"a picture of this conversation\" src=\"data:{};base64,{}\"></p>\n";
                self.page.fill(markup, &[media_type, data])
            }
            Picture::LeftOut(why) => self.page.fill("<p class=\"other\">[{}]</p>\n", &[why]),
        }
    }

    fn call(&mut self, call: &Call, sanitizer: &mut Sanitizer) -> io::Result<()> {
        self.count(&call.tool);
        self.page.fill("<section class=\"tool\">\n<h3><b>{}</b>", &[call.tool.as_str()])?;
        if let Some(server) = &call.server {
            self.page.fill(" <span class=\"size\">MCP server {}</span>", &[server.as_str()])?;
        }
        if let Some(telling) = &call.telling {
            self.page.fill(" <span class=\"glimpse\">{}</span>", &[telling.as_str()])?;
        }
        self.raw("</h3>\n")?;
        self.body(&call.body, sanitizer)?;
        if call.arguments.is_empty() {
            return Ok(());
        }
        let short = |argument: &Argument| {
            format!("{}: {}", argument.name.as_str(), argument.value.headline(GLIMPSE_CHARS_MAX / 3).as_str())
        };
        let glimpse: Vec<String> = call.arguments.iter().take(SHORT_ARGUMENTS_MAX).map(short).collect();
        let glimpse = glimpse.join(" · ");
        if are_short(&call.arguments) {
            return self.page.fill("<p class=\"glimpse given\">{}</p>\n", &[&glimpse]);
        }
        self.raw("<details class=\"call\"><summary>")?;
        self.page.fill("<span class=\"glimpse\">{}</span></summary>\n", &[&glimpse])?;
        for argument in &call.arguments {
            self.page.fill("<div><span class=\"name\">{}</span>", &[argument.name.as_str()])?;
            self.pre(&sanitizer.parts(&argument.value))?;
            self.raw("</div>\n")?;
        }
        self.raw("</details>\n")
    }

    fn body(&mut self, body: &Body, sanitizer: &mut Sanitizer) -> io::Result<()> {
        match body {
            Body::Nothing => Ok(()),
            Body::Command(command) => {
                self.raw("<div class=\"command\">")?;
                self.pre(&sanitizer.parts(command))?;
                self.raw("</div>\n")
            }
            Body::Changes(changes) => changes.iter().try_for_each(|(old, new)| self.change(old, new, sanitizer)),
            Body::Written(text) => {
                self.raw(if is_long(text) {
                    "<details class=\"written\"><summary>"
                } else {
                    "<details class=\"written\" open><summary>"
                })?;
                self.page.fill("written <span class=\"size\">{}</span></summary>", &[&size(text)])?;
                self.pre(&sanitizer.parts(text))?;
                self.raw("</details>\n")
            }
            Body::Task(task) => self.folded("task", task, Voice::Model),
            Body::Plan(plan) => {
                self.raw("<div class=\"plan\">")?;
                self.marked_up(plan.as_str(), Voice::Model)?;
                self.raw("</div>\n")
            }
            Body::Todos(todos) => {
                self.raw("<ul class=\"todos\">\n")?;
                for (progress, todo) in todos {
                    let markup = "<li class=\"{}\">{} {}</li>\n";
                    let class = format!("{progress:?}").to_lowercase();
                    self.page.fill(markup, &[&class, progress.mark(), todo.as_str()])?;
                }
                self.raw("</ul>\n")
            }
            Body::Questions(questions) => questions.iter().try_for_each(|question| self.question(question)),
        }
    }

    fn question(&mut self, question: &Question) -> io::Result<()> {
        let many = if question.has_many { " (several may be chosen)" } else { "" };
        self.page
            .fill("<p class=\"question\"><strong>{}</strong>{}</p>\n<ul>\n", &[question.question.as_str(), many])?;
        for (label, description) in &question.options {
            self.page.fill("<li>{}", &[label.as_str()])?;
            if !description.as_str().is_empty() {
                self.page.fill(" <span class=\"size\">{}</span>", &[description.as_str()])?;
            }
            self.raw("</li>\n")?;
        }
        self.raw("</ul>\n")
    }

    fn change(&mut self, old: &Sanitized<'_>, new: &Sanitized<'_>, sanitizer: &mut Sanitizer) -> io::Result<()> {
        let (old, new) = (sanitizer.parts(old), sanitizer.parts(new));
        if old.left_out + new.left_out > 0 {
            self.raw("<div class=\"old\">")?;
            self.pre(&old)?;
            self.raw("</div><div class=\"new\">")?;
            self.pre(&new)?;
            return self.raw("</div>\n");
        }
        let lines = diff::lines(old.head, new.head);
        let is_long = lines.len() > OPEN_CHANGES_MAX;
        if is_long {
            let what = count(lines.len() as u64, "line");
            self.page.fill(
                "<details class=\"written\"><summary>change <span class=\"size\">{}</span></summary>",
                &[&what],
            )?;
        }
        self.raw("<pre class=\"diff\">")?;
        for line in &lines {
            self.raw(match line.fate {
                Fate::Kept => "<span>  ",
                Fate::Removed => "<span class=\"old\">- ",
                Fate::Added => "<span class=\"new\">+ ",
                Fate::Skipped(_) => "<span class=\"size\">",
            })?;
            if let Fate::Skipped(lines) = line.fate {
                self.page.fill("  … {} unchanged", &[&count(lines as u64, "line")])?;
            }
            for (is_other, piece) in &line.pieces {
                self.page.fill(if *is_other { "<mark>{}</mark>" } else { "{}" }, &[piece])?;
            }
            self.raw("\n</span>")?;
        }
        self.raw(if is_long { "</pre></details>\n" } else { "</pre>\n" })
    }

    /// The rows of a table.
    fn rows<'r>(&mut self, rows: impl Iterator<Item = &'r Row>) -> io::Result<()> {
        self.raw("<table>\n")?;
        for Row { name, values, .. } in rows {
            self.page.fill("<tr><th scope=\"row\">{}</th><td dir=\"auto\">", &[name])?;
            for (n, value) in values.iter().enumerate() {
                self.page.fill(if n > 0 { "<br>{}" } else { "{}" }, &[value.as_str()])?;
            }
            self.raw("</td></tr>\n")?;
        }
        self.raw("</table>\n")
    }

    /// Notes the prompt for the index by the first words in it.
    fn list_prompt(&mut self, text: &Sanitized<'_>) {
        let Some(message) = self.unlisted.take() else { return };
        if self.prompts.len() >= PROMPTS_MAX {
            self.more_prompts += 1;
            return;
        }
        let anchor = if self.is_anchored { on(&message.anchor) } else { message.anchor };
        let time = message.time.map_or(String::new(), |time| format!("{} {}", time.day, time.clock));
        self.prompts.push(Prompt { anchor, words: text.words(PROMPT_CHARS_MAX), time, tools: Vec::new() });
    }

    /// Counts the call for the prompt that it was made for.
    fn count(&mut self, tool: &Sanitized<'static>) {
        let Some(prompt) = self.prompts.last_mut().filter(|_| self.outer.is_empty()) else { return };
        match prompt.tools.iter().position(|(of, _)| of == tool) {
            Some(at) => prompt.tools[at].1 += 1,
            None if prompt.tools.len() < TOOLS_COUNTED_MAX => prompt.tools.push((tool.clone(), 1)),
            None => {}
        }
    }

    /// Stands beside or above the conversation, wherever it stands in the file.
    fn index_of_prompts(&mut self) -> io::Result<()> {
        self.raw("<nav id=\"n-prompts\">\n<h2>Prompts</h2>\n<ol>\n")?;
        for Prompt { anchor, words, time, tools } in &self.prompts {
            let markup = "<li><a href=\"#{}\" title=\"{}\">{}</a>";
            self.page.fill(markup, &[anchor, time, words.as_str()])?;
            let tools: Vec<String> = tools.iter().map(|(tool, times)| format!("{} {times}", tool.as_str())).collect();
            if !tools.is_empty() {
                self.page.fill("<br><span class=\"size\">{}</span>", &[&tools.join(" · ")])?;
            }
            self.page.raw("</li>\n")?;
        }
        self.raw("</ol>\n")?;
        if self.more_prompts > 0 {
            self.page.fill("<p>and {} more</p>\n", &[&self.more_prompts.to_string()])?;
        }
        self.raw("</nav>\n<a class=\"up\" href=\"#n-prompts\" title=\"To the prompts\">↑</a>\n")
    }
}

impl<W: Write> Renderer for Html<W> {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        let title = header.title.as_str();
        self.raw(HEAD)?;
        self.page.fill("{}</title>\n</head>\n<body>\n<header>\n", &[title])?;
        if let Some(back) = header.back {
            self.page.fill("<p class=\"back\"><a href=\"{}\">All conversations</a></p>\n", &[back])?;
        }
        self.page.fill("<h1 dir=\"auto\">{}</h1>\n", &[title])?;
        for warning in &header.warnings {
            self.remark(warning)?;
        }
        self.rows(header.rows.iter().filter(|row| row.is_main))?;
        if header.rows.iter().any(|row| !row.is_main) {
            self.raw("<details class=\"about\"><summary>More about this conversation</summary>\n")?;
            self.rows(header.rows.iter().filter(|row| !row.is_main))?;
            self.raw("</details>\n")?;
        }
        self.raw(if header.has_tools { CHOICE } else { "" })?;
        self.raw("</header>\n<main>\n")
    }

    fn begin_message(&mut self, message: &MessageHeader) -> io::Result<()> {
        let is_prompt = message.is_prompt && self.outer.is_empty();
        self.unlisted = is_prompt.then(|| message.clone());
        self.due = Some(message.clone());
        self.is_anchored = false;
        self.voice = match message.speaker {
            Speaker::Claude | Speaker::Agent | Speaker::Summary => Voice::Model,
            Speaker::User | Speaker::Tool | Speaker::System => Voice::Other,
        };
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>, sanitizer: &mut Sanitizer) -> io::Result<()> {
        if let Part::Result { .. } = part {
            return self.result(part, sanitizer);
        }
        self.open()?;
        match part {
            Part::Prose(text) => {
                self.list_prompt(text);
                self.marked_up(text.as_str(), self.voice)
            }
            Part::Answers(answers) => {
                if let Some((_, answer)) = answers.first() {
                    self.list_prompt(answer);
                }
                let markup = "<p class=\"question\">{}<br><strong>{}</strong></p>\n";
                let both = |(one, other): &(Sanitized<'_>, Sanitized<'_>)| {
                    self.page.fill(markup, &[one.as_str(), other.as_str()])
                };
                answers.iter().try_for_each(both)
            }
            Part::Other(kind) => self
                .page
                .fill("<p class=\"other\">[{}, not exported]</p>\n", &[kind.headline(GLIMPSE_CHARS_MAX).as_str()]),
            Part::Output(text) => self.answer("", " of the command", text, false, sanitizer),
            Part::Summary(text) => {
                let markup = "<details class=\"summary\"><summary>Summary of the conversation so far (compaction) <span class=\"size\">{}</span></summary>\n";
                self.page.fill(markup, &[&size(text)])?;
                self.marked_up(text.as_str(), Voice::Model)?;
                self.raw("</details>\n")
            }
            Part::Thinking(text) => self.folded("thinking", text, Voice::Model),
            Part::Notice { kind, text } => {
                let kind = kind.headline(GLIMPSE_CHARS_MAX);
                self.folded(kind.as_str(), text, Voice::Other)
            }
            Part::Call(call) => self.call(call, sanitizer),
            Part::Picture(picture) => self.picture(picture),
            Part::Result { .. } => Ok(()),
        }
    }

    fn end_call(&mut self, call: &Call) -> io::Result<()> {
        if let Some(id) = &call.id {
            self.page.keep_place(id);
        }
        self.raw("</section>\n")
    }

    fn end_message(&mut self) -> io::Result<()> {
        self.due = None;
        if std::mem::take(&mut self.is_open) { self.raw("</article>\n") } else { Ok(()) }
    }

    fn begin_subagent(&mut self, title: &Sanitized<'_>) -> io::Result<()> {
        self.outer.push((std::mem::take(&mut self.is_open), self.voice));
        let markup = "<details class=\"subagent\"><summary>subagent <span class=\"glimpse\">{}</span></summary>\n";
        self.page.fill(markup, &[title.as_str()])
    }

    fn end_subagent(&mut self) -> io::Result<()> {
        (self.is_open, self.voice) = self.outer.pop().unwrap_or((false, Voice::Other));
        self.raw("</details>\n")
    }

    fn remark(&mut self, text: &Sanitized<'_>) -> io::Result<()> {
        self.page.fill("<p class=\"warning\">{}</p>\n", &[text.as_str()])
    }

    fn end(&mut self, remarks: &[Sanitized<'_>]) -> io::Result<()> {
        self.raw("</main>\n")?;
        if !self.prompts.is_empty() {
            self.index_of_prompts()?;
        }
        self.raw("<footer>\n")?;
        for remark in remarks {
            self.page.fill("<p>{}</p>\n", &[remark.as_str()])?;
        }
        self.raw("</footer>\n</body>\n</html>\n")?;
        self.page.finish("<p class=\"other\">no result is recorded</p>\n")
    }

    fn nests(&self) -> bool {
        true
    }
}

/// The anchor of what else is said in a message whose result stands at its call.
fn on(anchor: &str) -> String {
    format!("{anchor}-on")
}

fn are_short(arguments: &[Argument]) -> bool {
    let chars = |argument: &Argument| argument.name.as_str().chars().count() + argument.value.as_str().chars().count();
    let is_line = |argument: &Argument| {
        !argument.value.as_str().contains('\n') && argument.value.as_str().chars().count() < GLIMPSE_CHARS_MAX / 3
    };
    arguments.len() <= SHORT_ARGUMENTS_MAX
        && arguments.iter().all(is_line)
        && arguments.iter().map(chars).sum::<usize>() <= SHORT_ARGUMENTS_CHARS_MAX
}

fn is_long(text: &Sanitized<'_>) -> bool {
    text.as_str().lines().count() > OPEN_CHANGES_MAX / 5
}

fn size(text: &Sanitized<'_>) -> String {
    let text = text.as_str().trim_end();
    match text.lines().count() {
        0 => "empty".to_owned(),
        1 => count(text.chars().count() as u64, "character"),
        lines => count(lines as u64, "line"),
    }
}
