// The old layer 2: reads the event and calls the MCP tool session_save, 10 s an attempt, 2 attempts,
// 1 s between. With --all FILE it saves the events of that file, one a line, over one connection:
// the best that the old chain could have done for an import.
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'

const ATTEMPTS = 2
const TIMEOUT_MS = 10_000
const DELAY_MS = 1_000
const log = (line) => console.error(`[session-save] ${line}`)

async function connect() {
  const client = new Client({ name: 'call-mcp-session-save', version: '1.0.0' })
  const server = join(import.meta.dirname, 'session-manager.mjs')
  await client.connect(new StdioClientTransport({ command: process.execPath, args: [server], env: process.env }))
  return client
}

async function save(client, event) {
  const { session_id, transcript_path, cwd, hook_event_name } = event
  const call = { name: 'session_save', arguments: { session_id, transcript_path, cwd, trigger: hook_event_name } }
  const answer = await client.callTool(call, undefined, { timeout: TIMEOUT_MS })
  if (answer.isError) throw new Error(answer.content[0].text)
}

async function once(event) {
  const client = await connect()
  try {
    await save(client, event)
  } finally {
    await client.close()
  }
}

async function withRetries(event) {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    log(`📝 Attempt ${attempt}/${ATTEMPTS}: Calling session_save...`)
    try {
      return await once(event)
    } catch (error) {
      log(`❌ Attempt ${attempt}/${ATTEMPTS}: ${error.message}`)
    }
    if (attempt < ATTEMPTS) {
      log('🔄 Retrying in 1 second...')
      await new Promise((resolve) => setTimeout(resolve, DELAY_MS))
    }
  }
  log(`❌ Failed after ${ATTEMPTS} attempts`)
  log(`⚠️ FALLBACK: Conversación guardada en ${join(homedir(), '.claude-backup-sessions')}`)
  // The hook may not fail; the bench must see that it did.
  if (process.env.OLD_CHAIN_MUST_SAVE) process.exitCode = 1
}

const [flag, file] = process.argv.slice(2)
if (flag === '--all') {
  const client = await connect()
  for (const line of readFileSync(file, 'utf8').split('\n').filter(Boolean)) await save(client, JSON.parse(line))
  await client.close()
} else {
  let event = ''
  for await (const chunk of process.stdin) event += chunk
  await withRetries(JSON.parse(event))
}
