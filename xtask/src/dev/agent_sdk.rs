//! `cargo xtask interop`, second half: `layer1-prebackup session-store` behind Claude's Agent SDK.
//!
//! In Python the SDK ships the suite of contracts that every `SessionStore` keeps; in JavaScript its own
//! `importSessionToStore` writes a conversation, which must be loaded as it was.

use std::path::Path;

use anyhow::{Result, ensure};
use layer1_prebackup::names::LAYER1;
use xshell::{Shell, cmd};

const PYTHON_SDK: &str = "claude-agent-sdk==0.2.189";
const JAVASCRIPT_SDK: &str = "@anthropic-ai/claude-agent-sdk@0.3.332";

const PYTHON: &str = r#"
import os, sys, tempfile, anyio
from claude_agent_sdk.testing import run_session_store_conformance
from threefold_session_store import ThreefoldSessionStore
stores = []
def fresh():
    os.environ["HOME"] = tempfile.mkdtemp(dir=sys.argv[2])
    stores.append(ThreefoldSessionStore(program=sys.argv[1]))
    return stores[-1]
anyio.run(run_session_store_conformance, fresh)
print(f"every contract kept, {len(stores)} stores")
"#;

const JAVASCRIPT: &str = r#"
import assert from "node:assert";
import { copyFileSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { importSessionToStore } from "@anthropic-ai/claude-agent-sdk";
import { ThreefoldSessionStore } from "./threefold-session-store.mjs";
const [program, transcript] = process.argv.slice(2);
const id = "0f5e2f5c-1111-4222-8333-944455556666";
const slug = `${process.env.HOME}/.claude/projects/-home-interop`;
mkdirSync(slug, { recursive: true });
copyFileSync(transcript, `${slug}/${id}.jsonl`);
const store = new ThreefoldSessionStore({ program });
await importSessionToStore(id, store);
const [projectKey] = readdirSync(`${process.env.HOME}/.claude-sdk/projects`);
const appended = readFileSync(transcript, "utf8").trim().split("\n").map((line) => JSON.parse(line));
assert.deepStrictEqual(await store.load({ projectKey, sessionId: id }), appended);
assert.deepStrictEqual((await store.listSessions(projectKey)).map(({ sessionId }) => sessionId), [id]);
const closed = { projectKey: "closed", sessionId: id };
const appends = [];
for (let n = 0; n < 20; n++) {
  appends.push(store.append(closed, [{ uuid: `${n}` }]));
  store.close();
}
await Promise.all(appends);
assert.equal((await store.load(closed)).length, appends.length);
console.log(`${appended.length} entries loaded as they were appended`);
"#;

/// Runs both halves, one line each. Skips, plainly, what cannot be had. Returns how many failed.
pub(crate) fn run(sh: &Shell, programs: &Path, transcript: String) -> Result<usize> {
    let scratch = sh.create_temp_dir()?;
    let folder = scratch.path();
    let _folder = sh.push_dir(folder);
    let program = programs.join(LAYER1);
    sh.write_file("threefold_session_store.py", cmd!(sh, "{program} session-store --adapter python").read()?)?;
    sh.write_file("threefold-session-store.mjs", cmd!(sh, "{program} session-store --adapter javascript").read()?)?;
    sh.write_file("conformance.py", PYTHON)?;
    sh.write_file("conformance.mjs", JAVASCRIPT)?;
    sh.write_file("transcript.jsonl", transcript)?;
    let python = folder.join("venv/bin/python");
    let halves = [
        ("python", cmd!(sh, "{python} conformance.py {program} {folder}")),
        ("javascript", cmd!(sh, "node conformance.mjs {program} transcript.jsonl").env("HOME", folder)),
    ];
    let installed = [
        cmd!(sh, "python3 -m venv venv").quiet().run().is_ok()
            && cmd!(sh, "{python} -m pip install --quiet {PYTHON_SDK}").quiet().run().is_ok(),
        cmd!(sh, "npm install --ignore-scripts --no-audit --no-fund {JAVASCRIPT_SDK}")
            .quiet()
            .ignore_stdout()
            .run()
            .is_ok(),
    ];
    let mut failed = 0;
    for ((language, half), installed) in halves.into_iter().zip(installed) {
        let checked = if installed { half.quiet().read().map_err(anyhow::Error::from) } else { Ok(String::new()) };
        match checked.and_then(|seen| ensure_said(installed, seen)) {
            Ok(seen) => println!("ok      sdk     {language}: {seen}"),
            Err(_) if !installed => println!("skipped: the Agent SDK for {language} cannot be installed"),
            Err(error) => {
                failed += 1;
                println!("FAILED  sdk     {language}: {error:#}");
            }
        }
    }
    Ok(failed)
}

/// A check that ended well and said nothing has checked nothing.
fn ensure_said(installed: bool, seen: String) -> Result<String> {
    ensure!(installed && !seen.trim().is_empty(), "hear what was checked");
    Ok(seen)
}
