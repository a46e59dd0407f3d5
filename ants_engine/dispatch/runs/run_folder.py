"""The run folder: what a run was asked to do, how each request ended, and what happened on the way."""

import json
import logging
import os
import platform
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ants_engine.common.atomic_file import write_whole
from ants_engine.common.versions import installed_versions
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.dispatch.runs.run_reader import EVENTS, RECORD, RESPONSES, RunSummary
from ants_engine.protocol import JSON, Answer
from ants_engine.settings.config import Settings

MASK = "[set]"
"""Replaces a secret."""
MAX_CHARACTERS = 300
"""Messages are cut to this."""

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = re.compile(
    r"(api|access|secret|private|auth)?(keys?|tokens?)|pass(word|phrase|wd)?s?|pwd|secrets?|credentials?"
    r"|auth|authorization|bearer|cookies?"
)
_FOLDERS = frozenset({"PWD", "OLDPWD"})
"""Variables of the shell that look like passwords."""
_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w=.+-]+)*,[^\s\"'<>)]*", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]{100,}")
_KEY = re.compile(r"(?i)\b(sk-|bearer\s+|basic\s+(?=[\w+/=]{16}))[\w.~+/=*-]+")
_USER = re.compile(r"(?<=://)[^/?#\s@]+@")
_QUERY = re.compile(r"(?<=://)([^\s?#\"'<>]+)\?[^\s\"'<>]+")
_SHORTEST = 8
"""Shorter values of variables are not masked in texts: that would garble them."""


class Redactor:
    """Masks secrets: settings by their names, texts by their look, and values of secret environment variables."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables with a secret name, such as ``OPENAI_API_KEY``, once.

        Args:
            environment: the process's own by default.
        """
        variables = os.environ if environment is None else environment
        secret = {
            value
            for name, value in variables.items()
            if looks_secret(name) and name not in _FOLDERS and len(value) >= _SHORTEST
        }
        # longest first: one may be a prefix of another
        self._values = sorted(secret, key=len, reverse=True)

    def settings(self, settings: Mapping[str, JSON]) -> dict[str, JSON]:
        """Copy JSON with values of secret names replaced by `MASK`, and credentials removed from texts."""
        return _copy(settings, self._bare)

    def facts(self, facts: Mapping[str, JSON]) -> dict[str, JSON]:
        """Copy JSON like `settings`, with texts cleaned like `text`."""
        return _copy(facts, self.text)

    def text(self, text: str) -> str:
        """Clean a message: no key, no picture data, at most `MAX_CHARACTERS`."""
        text = self._bare(text[:100_000])
        text = _DATA_URL.sub("[data]", text)
        text = _BASE64.sub("[data]", text)
        return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"

    def _bare(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, MASK)
        text = _USER.sub(f"{MASK}@", text)
        text = _QUERY.sub(rf"\1?{MASK}", text)
        return _KEY.sub(rf"\1{MASK}", text)


def looks_secret(name: str) -> bool:
    """Tell whether a setting or variable of this name holds a secret; ``…_env`` only names a variable."""
    parts = [part.lower() for part in _PART.findall(name)]
    return bool(parts) and parts[-1] != "env" and any(_SECRET.fullmatch(part) for part in parts)


def _copy(parts: Mapping[str, JSON], clean: Callable[[str], str]) -> dict[str, JSON]:
    # names are texts in JSON
    named = ((str(name), each) for name, each in parts.items())
    return {
        name: MASK if looks_secret(name) and _may_hide(name, each) else _copied(each, clean) for name, each in named
    }


def _copied(value: JSON, clean: Callable[[str], str]) -> JSON:
    if isinstance(value, dict):
        return _copy(value, clean)
    if isinstance(value, list):
        return [_copied(each, clean) for each in value]
    return clean(value) if isinstance(value, str) else value


def _may_hide(name: str, value: JSON) -> bool:
    if value is None or isinstance(value, bool):
        return False
    # max_new_tokens and the like count tokens
    return not (isinstance(value, int | float) and "tokens" in name.lower())


MAX_WAITING = 10_000
"""Lines that may wait for a slow disk; further ones are dropped and counted."""
SYNC_SECONDS = 1.0
"""Seconds between two syncs to disk; the operating system has lines at once."""
CLOSE_SECONDS = 10.0
"""Seconds that `close` waits for a disk that hangs."""

_LOG = logging.getLogger("ants_engine.dispatch")
_TRIES = 20


class RunWriter:
    """Writes one folder on a thread of its own. Any fault is one warning, and lines are missing.

    Each line is one appending write, so a kill can cut only the last line. While it is open it holds a lock on
    `EVENTS`, by which a reader tells a running run from a killed one.
    """

    def __init__(self, root: Path, stem: str, record: Callable[[], dict[str, Any]]) -> None:
        """Prepare; nothing is written yet.

        Args:
            root: folder of run folders, created if need be.
            stem: start of the folder's name; six hex digits follow.
            record: returns the first content of `RECORD`; called on the thread.
        """
        self.path = root.absolute() / f"{stem}-{secrets.token_hex(3)}"
        """Where it is or will be."""
        self._stem = stem
        self._make_record = record
        self._record: dict[str, Any] = {}
        self._queue: SimpleQueue[tuple[str, Mapping[str, Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ants-run-folder", daemon=True)
        self._files: dict[str, int] = {}
        self._torn: set[str] = set()
        self._ending: Mapping[str, Any] = {}
        self._dropped = 0
        self._lost = 0
        self._warned = False
        self._over = False

    def start(self) -> None:
        """Start the thread, which creates the folder."""
        self._thread.start()

    def put(self, file: str, line: Mapping[str, Any]) -> None:
        """Append a line to `RESPONSES` or `EVENTS`. Never blocks, never raises."""
        if self._over:
            return
        if self._queue.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        self._queue.put((file, line))

    def close(self, ending: Mapping[str, Any]) -> None:
        """Write waiting lines, then ``ending`` into `RECORD`, and end the thread. May be called twice."""
        if self._over and not self._thread.is_alive():
            return
        self._over = True
        self._ending = ending
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._warn("the disk has not answered for too long")

    def _run(self) -> None:
        try:
            self._open()
            self._append_all()
            self._sync()
            losses = {"lines_dropped": self._dropped, "lines_lost": self._lost}
            self._write_record({**self._record, **self._ending, **losses})
        except (OSError, TypeError, ValueError, RecursionError) as error:
            self._warn(_reason(error))
        finally:
            self._over = True
            for descriptor in self._files.values():
                os.close(descriptor)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_TRIES):
            try:
                self.path.mkdir(mode=0o700)
                break
            except FileExistsError:
                if attempt == _TRIES - 1:
                    raise
                self.path = self.path.with_name(f"{self._stem}-{secrets.token_hex(3)}")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        for name in (EVENTS, RESPONSES):
            self._files[name] = os.open(self.path / name, flags, 0o600)
        self._record = self._make_record()
        # before the record: a reader takes a record without a lock for a killed run
        self._record["locked"] = _lock(self._files[EVENTS])
        self._write_record(self._record)

    def _append_all(self) -> None:
        synced, dirty = time.monotonic(), False
        while True:
            try:
                item = self._queue.get(timeout=max(0.0, synced + SYNC_SECONDS - time.monotonic()) if dirty else None)
            except Empty:
                item = ("", {})
            if item is None:
                return
            if item[0]:
                self._append(*item)
                dirty = True
            if dirty and time.monotonic() - synced >= SYNC_SECONDS:
                self._sync()
                synced, dirty = time.monotonic(), False

    def _append(self, name: str, line: Mapping[str, Any]) -> None:
        try:
            data = f"{json.dumps(line, separators=(',', ':'), default=_kind)}\n".encode("ascii")
            # not on the same line as a torn one
            data = b"\n" + data if name in self._torn else data
            written = os.write(self._files[name], data)
        except (OSError, TypeError, ValueError, RecursionError) as error:
            self._lost += 1
            self._warn(_reason(error))
            return
        if written == len(data):
            self._torn.discard(name)
        else:
            self._torn.add(name)
            self._lost += 1
            self._warn("a line was cut: is the disk full?")

    def _sync(self) -> None:
        try:
            for descriptor in self._files.values():
                os.fsync(descriptor)
        except OSError as error:
            self._warn(_reason(error))

    def _write_record(self, record: Mapping[str, Any]) -> None:
        write_whole(self.path / RECORD, f"{json.dumps(record, indent=1, default=_kind)}\n".encode("ascii"))

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning("%s: the run folder cannot be written (%s); the run goes on without it", self.path, reason)


def _lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # a reader holds it for a moment to test it
            time.sleep(0.005)
        except OSError:
            return False
        else:
            return True
    return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _kind(value: object) -> str:
    return f"[{type(value).__name__}]"


FORMAT, VERSION = "ants-run", 1
PACKAGES = (
    *("ants-engine", "torch", "torchvision", "open_clip_torch", "transformers", "openai", "httpx2"),
    *("pydantic", "tenacity", "diskcache", "numpy", "pillow"),
)


class RunFolder:
    """An `Observer` that records a run in a folder ``<root>/<UTC time>-<6 hex>/``, for ``ants run show``.

    - ``run.json``: settings (secrets masked), versions, the model's identity, templates' digests; start, end, ending,
      totals. Written at the start with ``ending`` null, and again at the end.
    - ``responses.jsonl``: a line per request: key, task, template, picture's digest, attempts, seconds, tokens, source,
      and ``answer`` or the error's class and message. About 350 bytes each, 18 MB for 50,000 requests.
    - ``events.jsonl``: a line per event, and one (about 200 bytes) for each failed call to the backend.

    It holds no picture, prompt or answer: those are in the response store. Old folders are not deleted. A folder that
    cannot be written is one warning in the log, and costs no answer.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        """Prepare; nothing is written before `begin`.

        Args:
            root: folder of run folders, created if need be.
            settings: the run's.
        """
        self._redactor = Redactor()
        self._settings = settings
        self._root = root
        self._writer: RunWriter | None = None
        self._started = 0.0
        self._templates: dict[str, str] = {}
        self._calls = 0
        self._summary = RunSummary()

    @property
    def path(self) -> Path | None:
        """The folder, once the run has begun; created shortly after on another thread."""
        return None if self._writer is None else self._writer.path

    def begin(self, facts: Mapping[str, JSON]) -> None:
        """Start the folder."""
        now = datetime.now(UTC)
        self._started = time.monotonic()
        given = self._redactor.settings(facts)

        def record() -> dict[str, Any]:
            settings = self._settings.model_dump(mode="json", fallback=lambda value: f"[{type(value).__name__}]")
            return {
                "format": FORMAT,
                "version": VERSION,
                "start": now.isoformat(),
                "end": None,
                "ending": None,
                "process": os.getpid(),
                "host": platform.node(),
                "platform": platform.platform(),
                "versions": installed_versions(PACKAGES),
                "facts": given,
                "settings": self._redactor.settings(settings),
            }

        stem = f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z"
        self._writer = RunWriter(self._root, stem, record)
        self._writer.start()

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        """Count a call to the backend; a failed one is an event."""
        self._calls += 1
        if isinstance(ending, Exception):
            self._event(
                "attempt_failed",
                {
                    "key": request.key,
                    "attempt": attempt,
                    "seconds": round(seconds, 4),
                    "error": type(ending).__name__,
                    "message": self._redactor.text(str(ending)),
                },
            )

    def ended(self, outcome: Outcome) -> None:
        """Write a request's line."""
        if self._writer is None:
            return
        request, answer, error = outcome.request, outcome.answer, outcome.error
        if request.template not in self._templates:
            self._templates[request.template] = request.template_sha256
            self._event("template", {"template": request.template, "sha256": request.template_sha256})
        line: dict[str, Any] = {
            "at": self._now(),
            "key": request.key,
            "task": request.task,
            "template": request.template,
            "picture": request.picture_sha256,
            "source": outcome.source,
            "attempts": outcome.attempts,
            "seconds": round(outcome.seconds, 4),
        }
        if answer is not None:
            tokens = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
            line |= {"ending": "answer", **tokens}
        else:
            line |= {"ending": type(error).__name__, "message": self._redactor.text(str(error))}
        self._summary.add_response(line)
        self._writer.put(RESPONSES, line)

    def event(self, kind: str, **facts: JSON) -> None:
        """Write an event's line."""
        self._event(kind, self._redactor.facts(facts))

    def close(self, ending: str) -> None:
        """Write waiting lines and the ending, and end the thread."""
        if self._writer is None:
            return
        summary = self._summary
        self._writer.close(
            {
                "end": datetime.now(UTC).isoformat(),
                "ending": self._redactor.text(ending),
                "seconds": self._now(),
                "templates": self._templates,
                "totals": {
                    **{name: getattr(summary, name) for name in ("ended", "answered", "from_store")},
                    "attempts": self._calls,
                    **{name: getattr(summary, name) for name in ("prompt_tokens", "completion_tokens")},
                    "failed": dict(summary.failed),
                    "failed_attempts": dict(summary.failed_attempts),
                    "first_answer": summary.first_answer,
                },
            }
        )

    def _event(self, kind: str, facts: Mapping[str, JSON]) -> None:
        if self._writer is not None:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = {"at": self._now(), "time": moment, "kind": kind, "facts": dict(facts)}
            self._summary.add_event(line)
            self._writer.put(EVENTS, line)

    def _now(self) -> float:
        return round(time.monotonic() - self._started, 4)
