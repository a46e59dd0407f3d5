"""Rows are read page by page as SQLite reads them, from the file and from its log, and garbage gives none."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ants_engine.dispatch.storage.log_file import is_damaged
from ants_engine.dispatch.storage.pages import read_rows

VALUES = [None, 0, 1, -1, 127, -32_768, 2**23, -(2**31), 2**45, -(2**63), 1.5, -0.0, "", "naïve 猫", b"", b"\0\xff"]
SIZES = [10, 126, 127, 128, 3900, 4052, 4053, 4061, 4062, 4100, 9000, 70_000]


def rows() -> list[tuple[object, ...]]:
    return [(value, "x" * size, bytes(size)) for value in VALUES for size in SIZES]


@pytest.mark.parametrize("page_size", [512, 4096, 65_536])
@pytest.mark.parametrize("in_the_log", [False, True])
def test_every_row_is_read_as_sqlite_reads_it(tmp_path: Path, page_size: int, *, in_the_log: bool) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a, b TEXT, c BLOB)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows())
        expected = connection.execute("SELECT * FROM t").fetchall()
        if not in_the_log:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (tmp_path / "copy").mkdir()
        for path in tmp_path.glob("a.db*"):
            shutil.copy(path, tmp_path / "copy" / path.name)
    found = set(read_rows(tmp_path / "copy" / "a.db", 3))
    assert found >= set(expected)
    # What is no row of the table is an earlier copy of one, or a row of another table.
    assert {row for row in found if row not in set(expected)} == set()
    assert not is_damaged(tmp_path / "copy" / "a.db-wal")


@pytest.mark.parametrize("seed", range(20))
def test_garbage_is_read_to_its_end(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    pages = [b"\x0d" + chance.randbytes(4095) for _ in range(20)]
    (tmp_path / "a.db").write_bytes(chance.randbytes(4096) + b"".join(pages) + chance.randbytes(100))
    (tmp_path / "a.db-wal").write_bytes(chance.randbytes(20_000))
    for columns in (1, 2, 12):
        for row in read_rows(tmp_path / "a.db", columns):
            assert len(row) == columns
    assert is_damaged(tmp_path / "a.db-wal")


def test_what_is_not_there_has_no_rows_and_no_damage(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path / "a.db", 12)) == []
    assert not is_damaged(tmp_path / "a.db-wal")
    (tmp_path / "a.db-wal").write_bytes(b"")
    assert not is_damaged(tmp_path / "a.db-wal")
