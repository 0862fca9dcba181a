#!/usr/bin/env bash
# The old layer 1: copies the transcript with cp and passes the event on. Only warns on failure.
set -u

input=$(cat)
session_id=$(printf '%s' "$input" | jq -r '.session_id // empty')
transcript=$(printf '%s' "$input" | jq -r '.transcript_path // empty')
cwd=$(printf '%s' "$input" | jq -r '.cwd // empty')
store="${PRE_BACKUP_DIR:-$HOME/.claude-backup-sessions}"
project=$(basename "${cwd:-unknown}")

if [ -n "$session_id" ] && [ -f "$transcript" ]; then
  mkdir -p "$store/$project"
  if ! cp "$transcript" "$store/$project/$session_id.jsonl"; then
    echo "[pre-backup] failed to copy $transcript" >&2
  fi
fi
printf '%s\n' "$input"
