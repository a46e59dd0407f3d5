"""Writes a run's folder on a thread of its own, so that the event loop never waits for a disk."""

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ants_engine.common.atomic_file import write_whole

RECORD, RESPONSES, EVENTS = "run.json", "responses.jsonl", "events.jsonl"
MAX_WAITING = 10_000
"""Lines that may wait for a slow disk; what comes on top is dropped and counted."""
SYNC_SECONDS = 1.0
"""Lines reach the disk itself at most so often, and at the end; the operating system has them at once."""
CLOSE_SECONDS = 10.0
"""How long the end waits for a disk that hangs."""

_LOG = logging.getLogger("ants_engine.dispatch")
_TRIES = 20


class RunWriter:
    """One folder, made when it starts. Whatever goes wrong with it is one warning, and lines that are missing.

    Each line is one write to a descriptor that appends, so a kill can cut the last line and no other. While it is open
    it holds a lock on `EVENTS`, by which a reader tells a run that goes on from one that was killed.
    """

    def __init__(self, root: Path, stem: str, record: Callable[[], dict[str, Any]]) -> None:
        """Prepare; nothing is touched yet.

        Args:
            root: folder of run folders, made if need be.
            stem: start of the folder's name; six hex digits follow.
            record: gives what `RECORD` says from the start; called on the thread.
        """
        self.path = root.absolute() / f"{stem}-{secrets.token_hex(3)}"
        """Where it is, or will be."""
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
        """Start the thread, which makes the folder."""
        self._thread.start()

    def put(self, file: str, line: Mapping[str, Any]) -> None:
        """Have a line appended to `RESPONSES` or `EVENTS`. Never waits, never raises."""
        if self._over:
            return
        if self._queue.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        self._queue.put((file, line))

    def close(self, ending: Mapping[str, Any]) -> None:
        """Write what waits, then ``ending`` into `RECORD`, and end the thread. May be called twice."""
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
        # before the record: who finds that, and no lock, takes the run for killed
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
            # where part of an earlier line is, this one must not be glued to it
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
            # a reader who looks whether it is locked holds it for that moment
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
