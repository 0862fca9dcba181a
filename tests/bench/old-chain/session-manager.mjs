// The old layer 3: an MCP server that copies the transcript, compares sizes, writes metadata and
// indexes one row of FTS5 a session.
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import Database from 'better-sqlite3'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { z } from 'zod'

const store = process.env.BACKUP_DIR ?? join(homedir(), '.claude-backup')
mkdirSync(store, { recursive: true })
const db = new Database(process.env.SESSION_DB_PATH ?? join(store, 'sessions.db'))
db.pragma('journal_mode = WAL')
db.exec(`
  CREATE VIRTUAL TABLE IF NOT EXISTS sessions_fts USING fts5(session_id UNINDEXED, project UNINDEXED, timestamp,
    git_branch, content, files, tokenize='porter unicode61');
  CREATE TABLE IF NOT EXISTS backups (session_id TEXT, path TEXT, bytes INTEGER, at TEXT);
`)

function textOf(content) {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content
    .map((block) => {
      if (block.type === 'text') return block.text
      if (block.type === 'tool_use') return JSON.stringify(block.input)
      if (block.type === 'tool_result') return textOf(block.content)
      return ''
    })
    .join('\n')
}

function read(path) {
  const found = { texts: [], topics: [], edited: new Set(), read: new Set(), bash: [], tools: {}, first: null, last: null }
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    let record
    try {
      record = JSON.parse(line)
    } catch {
      continue
    }
    if (record.timestamp) {
      found.first ??= record.timestamp
      found.last = record.timestamp
    }
    found.branch ??= record.gitBranch
    if (record.type !== 'user' && record.type !== 'assistant') continue
    const content = record.message?.content
    found.texts.push(textOf(content))
    if (record.type === 'user' && typeof content === 'string') found.topics.push(content.slice(0, 200))
    for (const block of Array.isArray(content) ? content : []) {
      if (block.type !== 'tool_use') continue
      found.tools[block.name] = (found.tools[block.name] ?? 0) + 1
      if (block.name === 'Edit' || block.name === 'Write') found.edited.add(block.input.file_path)
      if (block.name === 'Read') found.read.add(block.input.file_path)
      if (block.name === 'Bash') found.bash.push(block.input.command)
    }
  }
  return found
}

function save({ session_id, transcript_path, cwd, trigger }) {
  const project = basename(cwd || 'unknown')
  mkdirSync(join(store, project), { recursive: true })
  const copy = join(store, project, `${session_id}.jsonl`)
  const srcSize = statSync(transcript_path).size
  copyFileSync(transcript_path, copy)
  const dstSize = statSync(copy).size
  if (srcSize !== dstSize) throw new Error(`size mismatch: ${srcSize} !== ${dstSize}`)
  console.error(`[session-save] ✅ JSONL backed up (${dstSize} bytes) - trigger: ${trigger}`)
  const found = read(copy)
  const metadata = {
    session_id,
    project,
    timestamp_start: found.first,
    timestamp_end: found.last,
    git_branch: found.branch,
    edited_files: [...found.edited],
    read_files: [...found.read],
    bash_commands: found.bash,
    tool_counts: Object.entries(found.tools).map(([name, count]) => `${name}: ${count}`).join(', '),
    first_topic: found.topics.at(0),
    last_topic: found.topics.at(-1),
  }
  writeFileSync(join(store, project, `${session_id}.json`), JSON.stringify(metadata, null, 2))
  db.transaction(() => {
    db.prepare('DELETE FROM sessions_fts WHERE session_id = ?').run(session_id)
    db.prepare('INSERT INTO sessions_fts VALUES (?, ?, ?, ?, ?, ?)').run(
      session_id, project, found.last, found.branch, found.texts.join('\n'), [...found.edited, ...found.read].join(' '),
    )
    db.prepare('INSERT INTO backups VALUES (?, ?, ?, ?)').run(session_id, copy, dstSize, new Date().toISOString())
  })()
  return { session_id, project, bytes: dstSize }
}

const server = new McpServer({ name: 'session-manager', version: '1.0.0' })
const inputSchema = { session_id: z.string(), transcript_path: z.string(), cwd: z.string(), trigger: z.string() }
server.registerTool('session_save', { description: 'Saves a session', inputSchema }, async (input) => {
  try {
    return { content: [{ type: 'text', text: JSON.stringify(save(input)) }] }
  } catch (error) {
    return { isError: true, content: [{ type: 'text', text: error.message }] }
  }
})
await server.connect(new StdioServerTransport())
