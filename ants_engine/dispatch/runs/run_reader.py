"""Reads run folders: finished, running, killed, or damaged. What is in them is data from elsewhere, and bounded."""

import json
import math
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

from ants_engine.common.atomic_file import read_at_most
from ants_engine.common.canonical_json import excerpt
from ants_engine.dispatch.runs.run_summary import RunSummary
from ants_engine.dispatch.runs.run_writer import EVENTS, RECORD, RESPONSES
from ants_engine.errors import UsageError

State: TypeAlias = Literal["running", "ended", "killed", "unknown", "starting"]
"""``killed``: no ending, and no process holds the folder. ``unknown``: no ending, and this file system does not say."""

MAX_RECORD_BYTES = 4_194_304
YOUNG_SECONDS = 2.0
"""A folder without a record is taken for one that is being made for so long."""
MAX_LINE_BYTES = 65_536
"""A longer line was not written here."""

RUN_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{6}", re.ASCII)


def list_runs(root: Path) -> list[Path]:
    """List the run folders of a root, the oldest first.

    Raises:
        UsageError: the root is not there or cannot be read.
    """
    try:
        return sorted(each for each in root.iterdir() if RUN_NAME.fullmatch(each.name) and each.is_dir())
    except OSError as error:
        raise UsageError(f"{root}: no run folders there: {error.strerror}; name the folder that holds them") from error


def find_run(root: Path, name: str | None = None) -> Path:
    """Find one run folder.

    Args:
        root: the folder of run folders.
        name: a run folder as a path, a run's name, or the start or end of one; the newest when empty.

    Raises:
        UsageError: there is none, or several.
    """
    # a folder as a path, whatever is left in it
    if name and any((Path(name) / each).exists() for each in (RECORD, RESPONSES, EVENTS)):
        return Path(name)
    runs = list_runs(root)
    if name:
        runs = [each for each in runs if each.name.startswith(name) or each.name.endswith(name)]
        if len(runs) > 1:
            raise UsageError(f"{excerpt(name)} fits {len(runs)} runs under {root}; 'ants run list' names them")
    if not runs:
        what = f"no run {excerpt(name)} under {root}; 'ants run list' names them" if name else f"{root}: no runs there"
        raise UsageError(what)
    return runs[-1]


class RunReader:
    """One run folder. `read` takes in what has been added since it was last called."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read yet."""
        self.folder = folder
        self.record: Mapping[str, Any] = {}
        """``run.json``; empty where it cannot be read."""
        self.state: State = "starting"
        self.summary = RunSummary()
        """What the lines say so far."""
        self.problems: list[str] = []
        """What is missing or damaged, in words."""
        self._responses = _Lines(folder / RESPONSES)
        self._events = _Lines(folder / EVENTS)

    def read(self) -> None:
        """Take in everything that is there now. Missing and damaged files become `problems`."""
        # in this order: a run lets its lock go after its last word, so what is unlocked has said it
        held = _held(self.folder / EVENTS)
        self.problems = []
        self.record = self._read_record()
        self.state = self._find_state(held)
        if self.state == "starting":
            # its files are still to come
            self.problems = []
            return
        over = self.state != "running"
        for line in self._responses.read(last=over):
            if not self.summary.add_response(line):
                self._responses.damaged += 1
        for line in self._events.read(last=over):
            if not self.summary.add_event(line):
                self._events.damaged += 1
        self.problems += [*self._responses.problems(), *self._events.problems()]
        for count, what in (("lines_dropped", "the disk was too slow"), ("lines_lost", "the disk could not take them")):
            if isinstance(lines := self.record.get(count), int) and lines > 0:
                self.problems.append(f"{lines} lines are not there: {what}")

    def as_json(self) -> dict[str, Any]:
        """Spell what is known as JSON."""
        return {
            "run": self.folder.name,
            "folder": str(self.folder),
            "state": self.state,
            "problems": self.problems,
            "record": dict(self.record),
            "lines": self.summary.as_json(),
        }

    @property
    def ending(self) -> str | None:
        """How the run says it ended, if it did."""
        ending = self.record.get("ending")
        return ending if isinstance(ending, str) else None

    def _find_state(self, held: bool | None) -> State:
        if self.ending is not None:
            return "ended"
        if held:
            return "running" if self.record else "starting"
        if not (self.folder / RECORD).exists() and _age(self.folder) < YOUNG_SECONDS:
            return "starting"
        return "unknown" if held is None or self.record.get("locked") is False else "killed"

    def _read_record(self) -> Mapping[str, Any]:
        path = self.folder / RECORD
        try:
            with _open(path) as stream:
                # what is cut at the bound is not JSON any more
                return _parse(read_at_most(stream, MAX_RECORD_BYTES))
        except FileNotFoundError:
            problem = "is missing: what was asked of this run is not known"
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        except (ValueError, RecursionError):
            problem = "is damaged: what was asked of this run is not known"
        self.problems.append(f"{RECORD} {problem}")
        return {}


def response_lines(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Give every whole line of a run's requests that is JSON; of a missing or unreadable file none."""
    return _Lines(folder / RESPONSES).read(last=True)


def event_lines(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Do the same for a run's events."""
    return _Lines(folder / EVENTS).read(last=True)


class _Lines:
    """The lines of a file that grows. A line without its end may still be being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._problem: str | None = None
        self.damaged = 0
        self.cut = 0

    def read(self, *, last: bool) -> Iterator[Mapping[str, Any]]:
        """Give each new line that is one; ``last``: nothing more will come, so an unfinished one was cut."""
        self._problem = None
        try:
            with _open(self._path) as stream:
                stream.seek(self._offset)
                while line := stream.readline(MAX_LINE_BYTES):
                    whole = line.endswith(b"\n")
                    if not whole and len(line) < MAX_LINE_BYTES:
                        if last:
                            self._offset += len(line)
                            self.cut += 1
                        return
                    self._offset += len(line)
                    while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE_BYTES)):
                        self._offset += len(line)
                    if not whole:
                        self.damaged += 1
                    elif line.strip():
                        yield from self._parsed(line)
        except FileNotFoundError:
            self._problem = "is missing"
        except OSError as error:
            self._problem = f"cannot be read: {error.strerror or error}"

    def problems(self) -> Iterator[str]:
        """Say in words what is wrong with the file."""
        name = self._path.name
        if self._problem:
            yield f"{name} {self._problem}"
        if self.cut:
            yield f"{name}: its last line was cut and is left out"
        if self.damaged:
            yield f"{name}: {self.damaged} damaged line{'s are' if self.damaged > 1 else ' is'} left out"

    def _parsed(self, line: bytes) -> Iterator[Mapping[str, Any]]:
        try:
            yield _parse(line)
        except (ValueError, RecursionError):
            self.damaged += 1


def _parse(data: bytes) -> dict[str, Any]:
    parsed = json.loads(data, parse_constant=_refuse)
    if not isinstance(parsed, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the value is wrong
    return parsed


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _open(path: Path) -> Any:
    # neither a link that leads elsewhere nor a pipe that never answers
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return math.inf


def _held(path: Path) -> bool | None:
    """Say whether a process holds the lock; ``None`` where that cannot be known."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        with _open(path) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False
