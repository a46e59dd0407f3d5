"""The journal: one append-only file of lines, the truth of a response store. Everything here blocks.

::

    {"format": "ants-cassette", "version": 2, "id": "…"}
    {"model":{…},"checksum":"…"}
    {"key":"…","stored_at":…,"request":{…},"answer":{…},"checksum":"…"}

Lines are appended under a lock, a group at a time, and on the disk before anyone is told. Of several lines with one key
the last one counts. A line that was cut off by a kill was promised to nobody, and is removed by whoever writes next.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from filelock import FileLock
from filelock import Timeout as LockTimeout

from ants_engine.common.atomic_file import write_whole
from ants_engine.dispatch.storage.entry import MAX_LINE_BYTES, is_model_line, is_sealed, key_of
from ants_engine.dispatch.storage.index import IndexFaultError, Mark, Place, PlaceIndex
from ants_engine.errors import StoreCorruptedError, StoreUnavailableError

FORMAT = "ants-cassette"
VERSION = 2
JOURNAL, DRAFT, LOCK, INDEX, DAMAGED = "journal.jsonl", "journal.draft", "store.lock", "index", "damaged.jsonl"
INDEXED_FROM = 64 << 20
"""Bytes, about 80,000 answers. A shorter journal is read through in a tenth of a second, and its places take 20 MB."""
INDEXED_AFTER = 4096
"""Lines that are not in the index yet, beyond which they are added to it."""
_CHUNK = 1 << 20
_LOG = logging.getLogger("ants_engine.dispatch")


class ReplacedError(Exception):
    """The file at the journal's path is not the one that was opened."""


class Journal:
    """One open journal. All of it is used on one thread."""

    def __init__(
        self, folder: Path, *, strict: bool, wait: float, given_up: Callable[[], bool] = lambda: False
    ) -> None:
        """Name the store's folder; `open` opens it.

        Args:
            folder: where the journal is.
            strict: nothing is changed, and every line's checksum is looked at when it is opened.
            wait: seconds that another process may hold the lock.
            given_up: tells whether nobody waits any more for the lock.
        """
        self.path = folder / JOURNAL
        self.damaged: list[Place] = []
        """Lines that are no entry: of no known form; if strict, also those whose checksum does not fit."""
        self.models: list[Place] = []
        """Lines that say which model was asked."""
        self._folder = folder
        self._strict = strict
        self._wait = wait
        self._given_up = given_up
        self._lock = FileLock(folder / LOCK, mode=0o600, thread_local=False)
        self._file = -1
        self._id = ""
        self._end = 0
        self._tail: dict[str, Place] = {}
        self._index: PlaceIndex | None = None

    def open(self, file: int | None = None) -> None:
        """Open it, or make it, or use an open ``file`` that holds one.

        Raises:
            StoreUnavailableError: a later version made it, or another process holds the lock.
            StoreCorruptedError: strict, and its first line is damaged.
            OSError: it cannot be read, or, unless strict, written.
        """
        if file is None and not self._strict and not self.path.exists():
            with self.locked():
                if not self.path.exists():
                    self.make(iter(()))
        self._open(os.open(self.path, os.O_RDONLY if self._strict else os.O_RDWR) if file is None else file)

    def close(self) -> None:
        """Close it, with what is new written to the index. May be called twice."""
        if self._file < 0:
            return
        if not self._strict and self._tail and self._end >= INDEXED_FROM:
            with suppress(StoreUnavailableError, OSError), self.locked():
                self._write_index()
        self._let_go()

    def refresh(self) -> None:
        """Read what others have appended.

        Raises:
            ReplacedError: another file is at the journal's path, and strict.
            OSError: it cannot be read.
        """
        try:
            if not self._in_place():
                if self._strict:
                    raise ReplacedError(f"{self._folder}: the response store was replaced while it was open")
                self._let_go()
                self.open()
        except FileNotFoundError:
            # what was deleted can be read all the same
            pass
        if os.fstat(self._file).st_size > self._end:
            self._scan()

    def find(self, key: str) -> bytes | None:
        """Return the latest line of a key, with nothing verified but that it begins with that key."""
        place = self.place(key)
        line = None if place is None else self.read(place)
        if line is None or key_of(line) == key or self._index is None:
            return line
        # the index lies: the journal is the truth
        self._discard_index("a place is not its key's")
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
        """Return the line at a place, of one that is too long its beginning; nothing where there is no such place."""
        start, length = place
        if start + length > os.fstat(self._file).st_size:
            return b""
        return os.pread(self._file, min(length, MAX_LINE_BYTES + 1), start)

    def keys(self) -> list[str]:
        """Return all keys, sorted."""
        if self._index is None:
            return sorted(self._tail)
        try:
            return sorted({*self._index.keys(), *self._tail})
        except IndexFaultError as error:
            self._discard_index(str(error))
            return sorted(self._tail)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines behind all others, to the disk. To be called under the lock, after `refresh`.

        Raises:
            FileNotFoundError: the journal is gone.
            OSError: they cannot be written; no part of a line is left behind.
        """
        self.path.stat()
        data = b"".join(lines)
        end = self._whole_end()
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], end + written)
            _to_disk(self._file)
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
        """Put a new journal of some of its lines in its place. To be called under the lock, after `refresh`.

        A kill in between leaves the old one. Whoever has it open goes on with the new one.

        Args:
            keep: tells of each line whether it stays.

        Raises:
            OSError: it cannot be written; the old one is as it was.
        """
        self.make(part for place, line in self.lines() if keep(place, line) for part in self._copy(place))
        PlaceIndex.discard(self._folder / INDEX)
        self._let_go()
        self.open()

    def set_aside(self, places: Sequence[Place]) -> None:
        """Write what is at these places to ``damaged.jsonl``, before it goes from the journal.

        Raises:
            OSError: it cannot be written.
        """
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(self._folder / DAMAGED, how, 0o600), "ab") as file:
            for place in places:
                file.writelines(self._copy(place))
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def header() -> bytes:
        """Return the first line of a new journal."""
        header = {"format": FORMAT, "version": VERSION, "id": secrets.token_hex(8)}
        return json.dumps(header).encode("ascii") + b"\n"

    def make(self, lines: Iterator[bytes]) -> None:
        """Put a new journal of these lines in place, whole or not at all. To be called under the lock.

        Raises:
            OSError: it cannot be written; what is there is as it was.
        """
        # the draft has one name, which the lock protects: what a kill leaves behind is known for what it is
        write_whole(self.path, chain([self.header()], lines), draft=self._folder / DRAFT, mode=0o600)

    def lines(self) -> Iterator[tuple[Place, bytes]]:
        """Go through all whole lines behind the header; of one that is too long, only its end is given."""
        start = 0
        for length, line in _lines(self._file, 0):
            if start and line.endswith(b"\n"):
                yield (start, length), line
            start += length

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's lock; re-entrant.

        Raises:
            StoreUnavailableError: another process held it all the time.
        """
        end = time.monotonic() + self._wait
        while True:
            try:
                self._lock.acquire(timeout=0.2, poll_interval=0.002)
                break
            except LockTimeout as error:
                if self._given_up() or time.monotonic() >= end:
                    raise StoreUnavailableError(
                        f"{self._folder}: another process held the response store for {self._wait:g} s; "
                        "wait for it, or end it"
                    ) from error
        try:
            yield
        finally:
            self._lock.release()

    def _open(self, file: int) -> None:
        self._file = file
        self._tail, self.models, self.damaged, self._end = {}, [], [], 0
        try:
            self._read_header()
            self._open_index()
            self._scan()
        except BaseException:
            self._let_go()
            raise

    def _copy(self, place: Place) -> Iterator[bytes]:
        """Yield what is at a place, however long it is, in parts."""
        start, length = place
        for at in range(start, start + length, _CHUNK):
            yield os.pread(self._file, min(_CHUNK, start + length - at), at)

    def _in_place(self) -> bool:
        """Tell whether the open file is the one at the journal's path.

        Raises:
            FileNotFoundError: there is none.
        """
        there, ours = self.path.stat(), os.fstat(self._file)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _let_go(self) -> None:
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
                "mend it with 'ants cache repair' or a run in mode record"
            )
        # without its first line it is still a list of lines
        _LOG.warning("%s: the first line of the response store is damaged; written anew", self._folder)
        with self.locked():
            # unless another process has done so meanwhile
            if self._in_place():
                self.set_aside([(0, next((length for length, _ in _lines(self._file, 0)), 0))])
                self.make(part for place, _ in self.lines() for part in self._copy(place))
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
        if mark is not None and mark.journal == self._id and self._ends_a_line(mark.end):
            self._end, self.models = mark.end, list(mark.models)
        elif mark is not None:
            self._discard_index("it is of another journal")

    def _ends_a_line(self, end: int) -> bool:
        return 0 < end <= os.fstat(self._file).st_size and os.pread(self._file, 1, end - 1) == b"\n"

    def _discard_index(self, reason: str) -> None:
        _LOG.warning("%s: the store's index is damaged (%s); it is made anew", self._folder, reason)
        if self._index is not None:
            self._index.close()
            self._index = None
        PlaceIndex.discard(self._folder / INDEX)
        self._tail, self.models, self.damaged, self._end = {}, [], [], 0
        self._scan()

    def _scan(self) -> None:
        """Take note of the whole lines behind what is known."""
        at = self._end
        for length, line in _lines(self._file, at):
            if not line.endswith(b"\n"):
                break
            self._note((at, length), line)
            at += length
        self._end = at

    def _note(self, place: Place, line: bytes) -> None:
        key = key_of(line)
        if key is not None:
            self._tail[key] = place
        elif is_model_line(line):
            self.models.append(place)
        if place[0] and ((key is None and not is_model_line(line)) or (self._strict and not is_sealed(line))):
            self.damaged.append(place)

    def _whole_end(self) -> int:
        """Return where the next line goes, having dealt with a last line that has no end."""
        size = os.fstat(self._file).st_size
        if size == self._end:
            return size
        rest = os.pread(self._file, MAX_LINE_BYTES, self._end)
        if is_sealed(rest + b"\n") or self._end + len(rest) < size:
            # all of it is there but for its end; or it is nothing that a process was cut off in
            os.pwrite(self._file, b"\n", size)
            self._scan()
            return size + 1
        os.ftruncate(self._file, self._end)
        return self._end

    def _write_index(self) -> None:
        """Add what is not in the index yet. To be called under the lock."""
        try:
            index = self._index or PlaceIndex(self._folder / INDEX, wait=self._wait)
            self._index = index
            mark = index.mark()
            if mark is None or mark.journal != self._id or mark.end < self._end:
                anew = mark is None or mark.journal != self._id
                index.write(self._tail, Mark(self._id, self._end, tuple(self.models)), anew=anew)
        except IndexFaultError as error:
            # what is not in the index stays in memory
            _LOG.warning("%s: the store's index cannot be written: %s", self._folder, error)
            return
        self._tail = {}


def _lines(file: int, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their lengths; of one that is too long, only its end. The last may have no end."""
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


def _to_disk(file: int) -> None:
    getattr(os, "fdatasync", os.fsync)(file)
