"""Keeps the sessions of a Claude Agent SDK application in Threefold.

    from threefold_session_store import ThreefoldSessionStore

    options = ClaudeAgentOptions(session_store=ThreefoldSessionStore())

`append` returns when the entries are on the disk and in Threefold's first copy. `delete` removes a
session from the application's list; Threefold's copies stay, and `layer3-indexer restore` brings them back.
"""

import json
import subprocess
import threading
from pathlib import Path

import anyio.to_thread


class ThreefoldSessionStore:
    """A `SessionStore`. Safe to share between tasks and threads; one program runs as long as it is used."""

    def __init__(self, program=None, directory=None):
        """`program`: the path of `layer1-prebackup`. `directory`: where sessions lie (default `~/.claude-sdk`)."""
        self._command = [str(program or Path.home() / ".claude/hooks/layer1-prebackup"), "session-store"]
        if directory is not None:
            self._command += ["--dir", str(directory)]
        self._lock = threading.Lock()
        self._process = None

    async def append(self, key, entries):
        await self._call("append", key, entries=list(entries))

    async def load(self, key):
        return await self._call("load", key)

    async def list_sessions(self, project_key):
        return await self._call("list_sessions", {"project_key": project_key})

    async def list_subkeys(self, key):
        return await self._call("list_subkeys", key)

    async def delete(self, key):
        await self._call("delete", key)

    def close(self):
        """Ends the program. The next call starts it again."""
        with self._lock:
            if self._process is not None:
                self._process.stdin.close()
                self._process.wait()
                self._process.stdout.close()
                self._process = None

    async def _call(self, op, key, **fields):
        names = ("project_key", "session_id", "subpath")
        request = {"op": op, **{name: key[name] for name in names if key.get(name)}, **fields}
        return await anyio.to_thread.run_sync(self._exchange, json.dumps(request))

    def _exchange(self, request):
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._command[0]} ended without an answer")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self._command[0]}: {answer['error']}")
        return answer["result"]
