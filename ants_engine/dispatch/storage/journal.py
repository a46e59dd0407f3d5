"""The journal: an append-only file of lines, the truth of a response store. Everything here blocks.

::

    {"format": "ants-cassette", "version": 2, "id": "…"}
    {"model":{…},"checksum":"…"}
    {"key":"…","stored_at":…,"request":{…},"answer":{…},"checksum":"…"}

Lines are appended in groups, under a lock, and synced to disk before anyone is told. The last line of a key counts. A
last line that a kill cut off was never reported as stored; the next writer removes it.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from ants_engine.common.atomic_file import write_whole
from ants_engine.dispatch.storage.entry import MAX_LINE_BYTES, is_model_line, is_sealed, key_of
from ants_engine.dispatch.storage.index import IndexFaultError, Mark, Place, PlaceIndex
from ants_engine.errors import StoreCorruptedError, StoreUnavailableError

FORMAT = "ants-cassette"
VERSION = 2
JOURNAL, DRAFT, LOCK, INDEX, DAMAGED = "journal.jsonl", "journal.draft", "store.lock", "index", "damaged.jsonl"
INDEXED_FROM = 64 << 20
"""Bytes, about 80,000 answers. A shorter journal is scanned in a tenth of a second, and its places take 20 MB."""
INDEXED_AFTER = 4096
"""Lines that are not in the index yet, beyond which they are added to it."""
_CHUNK = 1 << 20
_LOCK_POLL = 0.002
"""Seconds between two tries to get the lock."""
_LOG = logging.getLogger("ants_engine.dispatch")


class ReplacedError(Exception):
    """The file at the journal's path is not the one that was opened."""


class Journal:
    """One open journal, used on one thread.

    Methods raise `OSError` as the disk does; a write that fails leaves no part of a line, and a rewrite leaves the old
    journal. `append`, `rewrite` and `create` are called under the lock (`locked`), and the first two after `refresh`.
    """

    def __init__(
        self, folder: Path, *, strict: bool, wait: float, given_up: Callable[[], bool] = lambda: False
    ) -> None:
        """Name the store's folder; `open` opens the journal.

        Args:
            folder: the store's.
            strict: change nothing, and verify every line's checksum when opened.
            wait: seconds that another process may hold the lock.
            given_up: true when nobody waits for the lock any more.
        """
        self.path = folder / JOURNAL
        self.damaged: list[Place] = []
        """Lines of no known form; if strict, also those whose checksum does not fit."""
        self.models: list[Place] = []
        """Lines that name a model."""
        self._folder = folder
        self._strict = strict
        self._wait = wait
        self._given_up = given_up
        self._lock = self._file = -1
        self._lock_depth = 0
        self._id = ""
        self._end = 0
        self._tail: dict[str, Place] = {}
        self._index: PlaceIndex | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be read."""
        return self._file >= 0

    def open(self, file: int | None = None) -> None:
        """Open or create the journal, or use an open ``file`` that holds one.

        Raises:
            StoreUnavailableError: a later version wrote it, or another process holds the lock.
            StoreCorruptedError: strict, and its first line is damaged.
        """
        if file is None and not self._strict and not self.path.exists():
            with self.locked():
                if not self.path.exists():
                    self.create(())
        self._file = os.open(self.path, os.O_RDONLY if self._strict else os.O_RDWR) if file is None else file
        self._forget()
        try:
            self._read_header()
            self._open_index()
            self._scan()
        except BaseException:
            self._close_file()
            raise

    def close(self) -> None:
        """Close it and bring the index up to date. May be called twice."""
        if self.is_open and not self._strict and self._tail and self._end >= INDEXED_FROM:
            with suppress(StoreUnavailableError, OSError), self.locked():
                self._write_index()
        self._close_file()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def refresh(self) -> None:
        """Read what others have appended; reopen a journal that was rewritten.

        Raises:
            ReplacedError: another file is at the journal's path, and strict.
        """
        # a deleted journal can still be read
        with suppress(FileNotFoundError):
            if not os.path.samestat(self.path.stat(), os.fstat(self._file)):
                if self._strict:
                    raise ReplacedError(f"{self._folder}: the response store was replaced while it was open")
                self._close_file()
                self.open()
        if os.fstat(self._file).st_size > self._end:
            self._scan()

    def find(self, key: str) -> bytes | None:
        """Return the latest line of a key; only that it begins with that key is verified."""
        place = self.place(key)
        line = None if place is None else self.read(place)
        if line is None or key_of(line) == key or self._index is None:
            return line
        self._discard_index("a place belongs to another key")
        place = self.place(key)
        return None if place is None else self.read(place)

    def place(self, key: str) -> Place | None:
        """Return where a key's latest line is."""
        place = self._tail.get(key)
        if place is not None or self._index is None:
            return place
        try:
            return self._index.place(key)
        except IndexFaultError as error:
            self._discard_index(str(error))
            return self._tail.get(key)

    def read(self, place: Place) -> bytes:
        """Return the line at a place, cut at `MAX_LINE_BYTES`; empty when the place is outside of the file."""
        start, length = place
        if start + length > os.fstat(self._file).st_size:
            return b""
        return os.pread(self._file, min(length, MAX_LINE_BYTES + 1), start)

    def keys(self) -> list[str]:
        """Return all keys, sorted."""
        try:
            indexed = [] if self._index is None else self._index.keys()
        except IndexFaultError as error:
            self._discard_index(str(error))
            indexed = []
        return sorted({*indexed, *self._tail})

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines and sync them to disk; fails if the journal was deleted."""
        self.path.stat()
        data = b"".join(lines)
        end = self._whole_end()
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], end + written)
            getattr(os, "fdatasync", os.fsync)(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, end + data[:written].rfind(b"\n") + 1)
            raise
        for line in lines:
            self._note((end, len(line)), line)
            end += len(line)
        self._end = end
        if len(self._tail) >= INDEXED_AFTER and self._end >= INDEXED_FROM:
            self._write_index()

    def rewrite(self, keep: Callable[[Place, bytes], bool]) -> None:
        """Replace the journal by one with the lines that ``keep`` selects; other processes switch to it."""
        self.create(part for place, line in self.lines() if keep(place, line) for part in self._copy(place))
        PlaceIndex.discard(self._folder / INDEX)
        self._close_file()
        self.open()

    def set_aside(self, places: Sequence[Place]) -> None:
        """Append what is at these places to ``damaged.jsonl``, before it leaves the journal."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(self._folder / DAMAGED, flags, 0o600), "ab") as file:
            file.writelines(part for place in places for part in self._copy(place))
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def header() -> bytes:
        """Return the first line of a new journal."""
        header = {"format": FORMAT, "version": VERSION, "id": secrets.token_hex(8)}
        return json.dumps(header).encode("ascii") + b"\n"

    def create(self, lines: Iterable[bytes]) -> None:
        """Put a new journal of these lines in place, whole or not at all."""
        # one name for the draft, which the lock protects: what a kill leaves behind is recognized
        write_whole(self.path, chain([self.header()], lines), draft=self._folder / DRAFT, mode=0o600)

    def lines(self) -> Iterator[tuple[Place, bytes]]:
        """Iterate over the complete lines after the header; of one that is too long, only its end is given."""
        start = 0
        for length, line in _lines(self._file, 0):
            if start and line.endswith(b"\n"):
                yield (start, length), line
            start += length

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's lock, which excludes other processes and other stores of this one; re-entrant.

        Raises:
            StoreUnavailableError: another process held it for too long.
        """
        import fcntl

        if not self._lock_depth:
            self._acquire()
        self._lock_depth += 1
        try:
            yield
        finally:
            self._lock_depth -= 1
            if not self._lock_depth:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _acquire(self) -> None:
        import fcntl

        end = time.monotonic() + self._wait
        path = self._folder / LOCK
        while True:
            if self._lock < 0:
                self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists() and os.path.samestat(path.stat(), os.fstat(self._lock)):
                    return
            except BlockingIOError as error:
                if self._given_up() or time.monotonic() >= end:
                    raise StoreUnavailableError(
                        f"{self._folder}: another process held the response store for {self._wait:g} s; "
                        "wait for it, or end it"
                    ) from error
                time.sleep(_LOCK_POLL)
            else:
                # the folder was replaced: others lock the file that is there now
                os.close(self._lock)
                self._lock = -1

    def _forget(self) -> None:
        self._tail, self.models, self.damaged, self._end = {}, [], [], 0

    def _copy(self, place: Place) -> Iterator[bytes]:
        """Yield what is at a place, however long, in parts."""
        start, length = place
        for at in range(start, start + length, _CHUNK):
            yield os.pread(self._file, min(_CHUNK, start + length - at), at)

    def _close_file(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read_header(self) -> None:
        head = os.pread(self._file, 4096, 0)
        try:
            header = json.loads(head[: head.index(b"\n")])
            sound = isinstance(header, dict) and header.get("format") == FORMAT and type(header["version"]) is int
        except (ValueError, KeyError, RecursionError):
            sound = False
        if sound and header["version"] > VERSION:
            raise StoreUnavailableError(
                f"{self._folder}: the response store is of form {header['version']}, and this version of ants_engine "
                f"reads up to {VERSION}; install a newer version"
            )
        if sound:
            self._id = str(header.get("id"))
            return
        if self._strict:
            raise StoreCorruptedError(
                f"{self._folder}: the response store is damaged: its first line is not a header; "
                "mend it with 'ants store repair' or a run in mode record"
            )
        # without its first line it is still a list of lines
        _LOG.warning("%s: the first line of the response store is damaged; writing a new one", self._folder)
        with self.locked():
            # unless another process has done so meanwhile
            if os.path.samestat(self.path.stat(), os.fstat(self._file)):
                self.set_aside([(0, next((length for length, _ in _lines(self._file, 0)), 0))])
                self.create(part for place, _ in self.lines() for part in self._copy(place))
            os.close(self._file)
            self._file = os.open(self.path, os.O_RDWR)
            self._read_header()

    def _open_index(self) -> None:
        if self._strict or os.fstat(self._file).st_size < INDEXED_FROM:
            return
        try:
            self._index = PlaceIndex(self._folder / INDEX, wait=self._wait)
            mark = self._index.mark()
        except IndexFaultError as error:
            self._discard_index(str(error))
            return
        if mark is None:
            return
        at_a_newline = 0 < mark.end <= os.fstat(self._file).st_size and os.pread(self._file, 1, mark.end - 1) == b"\n"
        if mark.journal == self._id and at_a_newline:
            self._end, self.models = mark.end, list(mark.models)
        else:
            self._discard_index("it belongs to another journal")

    def _discard_index(self, reason: str) -> None:
        _LOG.warning("%s: the store's index is damaged (%s); rebuilding it", self._folder, reason)
        if self._index is not None:
            self._index.close()
            self._index = None
        PlaceIndex.discard(self._folder / INDEX)
        self._forget()
        self._scan()

    def _scan(self) -> None:
        """Note the complete lines behind what is known."""
        at = self._end
        for length, line in _lines(self._file, at):
            if not line.endswith(b"\n"):
                break
            self._note((at, length), line)
            at += length
        self._end = at

    def _note(self, place: Place, line: bytes) -> None:
        key = key_of(line)
        known = True
        if key is not None:
            self._tail[key] = place
        elif is_model_line(line):
            self.models.append(place)
        else:
            known = not place[0]
        if not known or (self._strict and place[0] and not is_sealed(line)):
            self.damaged.append(place)

    def _whole_end(self) -> int:
        """Return where the next line goes, after dealing with a last line that has no newline."""
        size = os.fstat(self._file).st_size
        if size == self._end:
            return size
        rest = os.pread(self._file, MAX_LINE_BYTES, self._end)
        if is_sealed(rest + b"\n") or self._end + len(rest) < size:
            # only its newline is missing; or it is longer than a line that a kill cut off
            os.pwrite(self._file, b"\n", size)
            self._scan()
            return size + 1
        os.ftruncate(self._file, self._end)
        return self._end

    def _write_index(self) -> None:
        """Add what is not in the index yet. Call it under the lock."""
        try:
            self._index = self._index or PlaceIndex(self._folder / INDEX, wait=self._wait)
            mark = self._index.mark()
            replace = mark is None or mark.journal != self._id
            if mark is None or replace or mark.end < self._end:
                self._index.write(self._tail, Mark(self._id, self._end, tuple(self.models)), replace=replace)
        except IndexFaultError as error:
            # the places stay in memory
            _LOG.warning("%s: the store's index cannot be written: %s", self._folder, error)
            return
        self._tail = {}


def _lines(file: int, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their lengths; of one that is too long, only its end. The last may lack its newline."""
    at, left, skipped = start, b"", 0
    while chunk := os.pread(file, _CHUNK, at):
        at += len(chunk)
        *whole, rest = (left + chunk).split(b"\n")
        for line in whole:
            yield skipped + len(line) + 1, line + b"\n"
            skipped = 0
        left = rest
        if len(left) > MAX_LINE_BYTES:
            skipped += len(left) - 1
            left = left[-1:]
    if left or skipped:
        yield skipped + len(left), left
