"""The response store: answers on disk, verified when read, shared by processes."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.storage.database import Row
from ants_engine.dispatch.storage.disk_thread import DiskThread
from ants_engine.dispatch.storage.entry import DamagedEntryError, Entry, Failure, NewerEntryError
from ants_engine.dispatch.storage.identity_list import IDENTITIES, read_identities, write_identities
from ants_engine.dispatch.storage.quarantine import Quarantine
from ants_engine.dispatch.storage.row import RefusedRowError, value_of
from ants_engine.dispatch.storage.salvage import Salvage
from ants_engine.dispatch.storage.store_file import StoreFile
from ants_engine.errors import BackendError, StoreCorruptedError, StoreError, StoreUnavailableError
from ants_engine.protocol import Answer

T = TypeVar("T")

_LOG = logging.getLogger("ants_engine.dispatch")
_WAIT = 60
"""Seconds that another process may hold the store."""
_PAGE = 200


class Record(NamedTuple):
    """An entry with what the store knows about its row."""

    entry: Entry
    stored_at: float
    """Seconds since 1970."""
    size: int
    """Bytes."""


class ResponseStore:
    """Answers by request key, in a folder of its own. Many processes may have it open.

    What is put is on disk before `put` returns. All disk work is done on one thread of the store's own.
    A damaged entry is moved aside and counts as missing; a damaged database is moved aside as a whole, and what can
    be read of it and verifies is kept. If ``strict``, damage is an error, and nothing is changed.
    """

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        """Name the folder; it is opened, and made if need be, by `open`.

        Args:
            folder: where the store is.
            strict: damage raises instead of being mended (for replay).
        """
        self.folder = folder.absolute()
        self._strict = strict
        self._file = StoreFile(self.folder, strict=strict, wait=_WAIT)
        self._thread: DiskThread | None = None

    async def open(self) -> Self:
        """Open it, making folder and database if they are not there.

        Raises:
            StoreUnavailableError: the folder cannot be used, or another process holds it for a minute.
            StoreCorruptedError: what is there is no store, or, if strict, a damaged one.
        """
        self._file = file = StoreFile(self.folder, strict=self._strict, wait=_WAIT)
        thread = DiskThread(self._look_up, file.commit)
        try:
            await thread.run(file.open)
        except BaseException:
            # Cancelled, perhaps, while the thread waits for the lock.
            file.give_up()
            thread.stop(file.close)
            raise
        self._thread = thread
        return self

    async def reopen(self) -> None:
        """Close and open again, making the folder anew if it is gone: after a `StoreUnavailableError`.

        What waits to be read or written meanwhile is done afterwards. May be called by several at once.

        Raises:
            StoreUnavailableError: it still cannot be used. Reopen it later.
            StoreCorruptedError: what is there is no store, or, if strict, a damaged one.
        """
        if self._thread is None:
            await self.open()
        else:
            await self._thread.run(self._file.reopen)

    async def aclose(self) -> None:
        """Finish what is being written, and close. May be called twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                await thread.run(self._file.close, kind="last")
            finally:
                thread.stop()

    async def __aenter__(self) -> Self:
        """Open."""
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    async def get(self, key: str) -> Entry | None:
        """Look up how a request ended, with every check that there is.

        Raises:
            StoreCorruptedError: if strict: the entry, or the database, is damaged.
            StoreUnavailableError: the folder cannot be read, or a later version wrote the entry.
        """
        found: Entry | None = await self._opened().look_up(key)
        return found

    async def put(self, request: Request, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns.

        Raises:
            StoreUnavailableError: the folder cannot be written (gone, full, read-only, held by another process).
            StoreCorruptedError: the database is damaged, and cannot be mended.
        """
        data = Entry(request, answer).to_bytes()
        await self._run(lambda: self._file.database.write(request.key, data), write=True)

    async def put_failure(self, request: Request, error: BackendError) -> None:
        """Keep how a request failed, unless it has an answer.

        Raises:
            StoreUnavailableError: the folder cannot be written.
            StoreCorruptedError: the database is damaged, and cannot be mended.
        """
        entry = Entry(request, Failure.of(error))
        await self._run(lambda: self._write_unless_answered(entry), write=True)

    async def put_all(self, entries: Iterable[Entry], models: Iterable[RecordedIdentity] = ()) -> int:
        """Keep many in one transaction, all or none. An answer replaces what is there, a failure no answer.

        Args:
            entries: taken one by one on the store's thread; what it raises takes everything back.
            models: kept as the latest ones; looked at when the entries are through.

        Returns:
            The number of entries taken.

        Raises:
            StoreUnavailableError: the folder cannot be written.
            StoreCorruptedError: the database, or an entry that would be replaced, is damaged.
        """
        return await self._run(lambda: self._write_all(entries, models))

    async def entries(self) -> AsyncIterator[Entry]:
        """Go through all entries in the order of their keys.

        Raises:
            StoreCorruptedError: if strict: an entry, or the database, is damaged.
            StoreUnavailableError: the folder cannot be read, or a later version wrote an entry.
        """
        async for record in self.records():
            yield record.entry

    async def records(self) -> AsyncIterator[Record]:
        """Go through all entries in the order of their keys, with what is known about their rows.

        Raises:
            StoreCorruptedError: if strict: an entry, or the database, is damaged.
            StoreUnavailableError: the folder cannot be read, or a later version wrote an entry.
        """
        await self._run(self._check_strays)
        last = ""
        while rows := await self._run(lambda: self._file.database.rows_after(last, _PAGE)):  # noqa: B023  # awaited
            last = rows[-1].key
            for record in await self._run(lambda: self._read_all(rows)):  # awaited
                yield record

    async def remove(self, keys: Sequence[str]) -> int:
        """Delete entries for good, and overwrite what they were. All or none.

        Returns:
            How many were there.

        Raises:
            StoreUnavailableError: the folder cannot be written.
            StoreCorruptedError: the database is damaged, and cannot be mended.
        """
        return await self._run(lambda: self._remove(keys))

    async def compact(self) -> None:
        """Give the room of what was deleted back to the disk.

        Raises:
            StoreUnavailableError: others are using it, or the disk has no room for the copy that this takes.
            StoreCorruptedError: the database is damaged, and cannot be mended.
        """
        await self._run(self._compact)

    async def put_identity(self, recorded: RecordedIdentity) -> None:
        """Keep a model's identity, as the latest of its name.

        Raises:
            StoreUnavailableError: the folder cannot be written.
            StoreCorruptedError: the database is damaged, and cannot be mended.
        """
        if (await self.get_identities())[-1:] != [recorded]:
            await self._run(lambda: self._add_identities([recorded]), write=True)

    async def get_identities(self, backend: str | None = None) -> list[RecordedIdentity]:
        """Name the models that were asked, the latest last.

        Args:
            backend: only those of this backend.

        Raises:
            StoreCorruptedError: if strict: the database, or this list, is damaged.
            StoreUnavailableError: the folder cannot be read.
        """
        recorded = await self._run(self._read_identities)
        return [each for each in recorded if backend is None or each.backend == backend]

    async def quarantined(self) -> int:
        """Count the damaged rows that were moved aside.

        Raises:
            StoreCorruptedError: if strict: the database is damaged.
            StoreUnavailableError: the folder cannot be read.
        """
        return await self._run(self._count_quarantined)

    async def restore(self) -> int:
        """Put rows back that were moved aside and verify after all. Return how many.

        Raises:
            StoreUnavailableError: the folder cannot be written.
            StoreCorruptedError: the database is damaged, and cannot be mended.
        """
        return await self._run(self._restore)

    async def mend(self) -> list[str]:
        """Look at the database's structure, and where it is damaged, save what verifies in a fresh one.

        Returns:
            What was wrong.

        Raises:
            StoreUnavailableError: the folder cannot be written.
        """
        return await self._run(self._mend)

    @property
    def salvages(self) -> list[Salvage]:
        """What was saved from damaged databases since this store was opened."""
        return list(self._file.salvages)

    async def _run(self, work: Callable[[], T], *, write: bool = False) -> T:
        thread = self._opened()
        # Writes that wait together are run by `StoreFile.commit`.
        if write:
            return await thread.run(work, kind="write")
        return await thread.run(lambda: self._file.run(work))

    def _opened(self) -> DiskThread:
        if self._thread is None:
            raise StoreUnavailableError(f"{self.folder}: the response store is not open")
        return self._thread

    # All below runs on the store's thread.

    @property
    def _quarantine(self) -> Quarantine:
        return Quarantine(self._file.database)

    def _count_quarantined(self) -> int:
        return self._quarantine.count()

    def _look_up(self, keys: Sequence[str]) -> dict[str, Entry | StoreError]:
        return self._file.run(lambda: self._read_together(keys))

    def _read_together(self, keys: Sequence[str]) -> dict[str, Entry | StoreError]:
        self._check_place()
        found: dict[str, Entry | StoreError] = {}
        for row in self._file.database.rows(keys):
            try:
                entry = self._read(row)
            except StoreError as error:
                found[row.key] = error
            else:
                if entry is not None:
                    found[row.key] = entry
        return found

    def _check_place(self) -> None:
        # What was deleted can be read all the same; what was replaced is not what others write to.
        try:
            self._file.database.check_place()
        except FileNotFoundError:
            return

    def _read_all(self, rows: Sequence[Row]) -> list[Record]:
        records = []
        for row in rows:
            if row.key == IDENTITIES:
                continue
            entry = self._read(row)
            if entry is not None:
                stored_at = row.stored_at if isinstance(row.stored_at, float) else 0.0
                records.append(Record(entry, stored_at, len(row.value) if isinstance(row.value, bytes) else 0))
        return records

    def _read(self, row: Row) -> Entry | None:
        try:
            return _entry(row)
        except NewerEntryError as error:
            raise StoreUnavailableError(f"{self.folder}: entry {row.key[:12]}… is of {error}") from error
        except (RefusedRowError, DamagedEntryError) as error:
            self._set_aside(row.key, str(error))
            return None

    def _set_aside(self, key: str, reason: str) -> None:
        if self._strict:
            raise StoreCorruptedError(
                f"{self.folder}: entry {key[:12]}… is damaged: {reason}. A replay needs it: "
                "restore the store from a copy or a cassette, or ask again in mode record"
            )
        self._quarantine.move(key, reason)
        _LOG.warning("%s: entry %s… is damaged (%s); moved aside, and asked again", self.folder, key[:12], reason)

    def _write_unless_answered(self, entry: Entry) -> bool | None:
        """Write, unless a failure would replace an answer (False), or what is there is damaged (None)."""
        try:
            present = [_entry(row) for row in self._file.database.rows([entry.request.key])]
        except (RefusedRowError, DamagedEntryError, NewerEntryError):
            return None
        if isinstance(entry.ending, Failure) and any(isinstance(each.ending, Answer) for each in present):
            return False
        self._file.database.write(entry.request.key, entry.to_bytes())
        return True

    def _write_all(self, entries: Iterable[Entry], models: Iterable[RecordedIdentity]) -> int:
        # Not in the transaction that puts share: what entries raises must not reach them.
        count = 0
        with self._file.database.transaction():
            for count, entry in enumerate(entries, 1):  # noqa: B007  # the last count is what is returned
                if self._write_unless_answered(entry) is None:
                    raise StoreCorruptedError(
                        f"{self.folder}: entry {entry.request.key[:12]}… is damaged; "
                        "run 'ants cache repair', which moves it aside"
                    )
            self._add_identities(list(models))
        return count

    def _remove(self, keys: Sequence[str]) -> int:
        database = self._file.database
        database.execute("PRAGMA secure_delete = ON")
        with database.transaction():
            return sum(database.change("DELETE FROM Cache WHERE raw = 1 AND key = ?", (key,)) for key in keys)

    def _compact(self) -> None:
        self._file.database.execute("VACUUM")
        self._file.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _check_strays(self) -> None:
        if not self._strict:
            if moved := self._quarantine.move_strays() if self._quarantine.strays() else 0:
                _LOG.warning("%s: %d rows with damaged keys were moved aside", self.folder, moved)
        elif strays := self._quarantine.strays():
            raise StoreCorruptedError(f"{self.folder}: {strays} rows have damaged keys; restore the store from a copy")

    def _read_identities(self) -> list[RecordedIdentity]:
        for row in self._file.database.rows([IDENTITIES]):
            try:
                return read_identities(value_of(row.mode, row.filename, row.value))
            except (RefusedRowError, DamagedEntryError) as error:
                self._set_aside(IDENTITIES, str(error))
            except NewerEntryError as error:
                raise StoreUnavailableError(f"{self.folder}: the list of models is of {error}") from error
        return []

    def _add_identities(self, recorded: list[RecordedIdentity]) -> None:
        present: list[RecordedIdentity] = []
        for row in self._file.database.rows([IDENTITIES]):
            present = read_identities(value_of(row.mode, row.filename, row.value))
        every = [each for each in present if each not in recorded] + recorded
        self._file.database.write(IDENTITIES, write_identities(every))

    def _restore(self) -> int:
        restored = 0
        for number, row in self._quarantine.rows():
            try:
                entry = _entry(row)
            except (RefusedRowError, DamagedEntryError, NewerEntryError):
                continue
            with self._file.database.transaction():
                present = [_entry(each) for each in self._file.database.rows([row.key])]
                if not present or (isinstance(entry.ending, Answer) and not isinstance(present[0].ending, Answer)):
                    self._file.database.write(row.key, entry.to_bytes())
                    restored += 1
                self._quarantine.forget(number)
        return restored

    def _mend(self) -> list[str]:
        found = [str(message) for (message,) in self._file.database.execute("PRAGMA integrity_check(20)")]
        if found == ["ok"]:
            return []
        self._file.mend(found[0])
        return found


def _entry(row: Row) -> Entry:
    return Entry.from_bytes(value_of(row.mode, row.filename, row.value), row.key)
