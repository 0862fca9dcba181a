/**
 * Keeps the sessions of a Claude Agent SDK application in Threefold.
 *
 *     import { ThreefoldSessionStore } from "./threefold-session-store.mjs";
 *     query({ prompt, options: { sessionStore: new ThreefoldSessionStore() } });
 *
 * `append` is done when the entries are on the disk and in Threefold's first copy. `delete` removes a session
 * from the application's list; Threefold's copies stay, and `layer3-indexer restore` brings them back.
 */
import { spawn } from "node:child_process";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A `SessionStore`. One program runs as long as it is used; it does not keep the application from ending. */
export class ThreefoldSessionStore {
  #command;
  #running = null;

  /**
   * @param {{ program?: string, directory?: string }} [options] `program`: the path of `layer1-prebackup`;
   *   `directory`: where sessions lie (default `~/.claude-sdk`)
   */
  constructor({ program = join(homedir(), ".claude/hooks/layer1-prebackup"), directory } = {}) {
    this.#command = [program, ["session-store", ...(directory ? ["--dir", directory] : [])]];
  }

  async append(key, entries) {
    await this.#call("append", key, { entries });
  }

  load(key) {
    return this.#call("load", key);
  }

  async listSessions(projectKey) {
    const sessions = await this.#call("list_sessions", { projectKey });
    return sessions.map(({ session_id, mtime }) => ({ sessionId: session_id, mtime }));
  }

  listSubkeys(key) {
    return this.#call("list_subkeys", key);
  }

  async delete(key) {
    await this.#call("delete", key);
  }

  /** Ends the program. The next call starts it again. */
  close() {
    this.#running?.child.stdin.end();
    this.#running = null;
  }

  #call(op, { projectKey, sessionId, subpath }, fields = {}) {
    const request = { op, project_key: projectKey, session_id: sessionId, subpath, ...fields };
    return new Promise((resolve, reject) => {
      const running = (this.#running ??= this.#start());
      running.waiting.push({ resolve, reject });
      hold(running);
      running.child.stdin.write(JSON.stringify(request) + "\n");
    });
  }

  #start() {
    const child = spawn(...this.#command, { stdio: ["pipe", "pipe", "inherit"] });
    // Answers come in the order of the requests, and each program answers its own: one that was closed may still do so.
    const running = { child, waiting: [] };
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { result, error } = JSON.parse(line);
      const { resolve, reject } = running.waiting.shift();
      hold(running);
      if (error === undefined) resolve(result);
      else reject(new Error(`${this.#command[0]}: ${error}`));
    });
    const end = (why) => {
      if (this.#running === running) this.#running = null;
      for (const { reject } of running.waiting.splice(0)) reject(new Error(`${this.#command[0]}: ${why}`));
    };
    child.on("error", (error) => end(error.message));
    child.on("close", () => end("it ended without an answer"));
    // A write to a program that has ended is told by its end.
    child.stdin.on("error", () => {});
    return running;
  }
}

/** The application waits for answers, and for nothing else. */
function hold({ child, waiting }) {
  const change = waiting.length > 0 ? "ref" : "unref";
  for (const handle of [child, child.stdin, child.stdout]) handle[change]?.();
}
