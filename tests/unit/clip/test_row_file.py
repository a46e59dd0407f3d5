"""Rows found by key: to the bit, by several writers, and never when damaged."""

import logging
import multiprocessing
import threading
from pathlib import Path

import pytest

from ants_engine.clip.feature_store import KEY_BYTES, RowFile

WIDTH = 40
ROW = KEY_BYTES + WIDTH + 16


def key(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "big")


def value(number: int) -> bytes:
    return number.to_bytes(WIDTH, "little")


def rows(*numbers: int) -> list[tuple[bytes, bytes]]:
    return [(key(number), value(number)) for number in numbers]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "some.rows"


def opened(path: Path, title: bytes = b"title") -> RowFile:
    return RowFile(path, title, WIDTH)


def test_found_again_here_and_when_opened_next(path: Path) -> None:
    file = opened(path)
    assert file.get([key(1)]) == [None]
    assert not path.parent.exists(), "looking makes nothing"
    assert file.put(rows(1, 2))
    assert file.put(rows(3))
    for one in (file, opened(path)):
        assert one.get([key(3), key(9), key(1), key(3)]) == [value(3), None, value(1), value(3)]
        assert one.get([]) == []


def test_a_key_is_kept_once(path: Path) -> None:
    file = opened(path)
    assert file.put(rows(1, 1, 2))
    assert file.put(rows(2, 1))
    assert path.stat().st_size == 2 * ROW


def test_another_title_finds_nothing(path: Path) -> None:
    opened(path).put(rows(1))
    assert opened(path, b"other").get([key(1)]) == [None]


@pytest.mark.parametrize("place", [0, KEY_BYTES, KEY_BYTES + WIDTH - 1, ROW - 1])
def test_one_flipped_bit_loses_one_row(place: int, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(path).put(rows(1, 2, 3))
    data = bytearray(path.read_bytes())
    data[ROW + place] ^= 1
    path.write_bytes(data)
    file = opened(path)
    with caplog.at_level(logging.WARNING):
        assert file.get([key(1), key(2), key(3)]) == [value(1), None, value(3)]
    assert ("made anew" in caplog.text) is (place > 0)
    assert file.put(rows(2))
    assert file.get([key(2)]) == opened(path).get([key(2)]) == [value(2)]


@pytest.mark.parametrize("cut", [1, ROW // 2, ROW - 1])
def test_a_row_that_a_crash_cut_off_moves_no_other(cut: int, path: Path) -> None:
    opened(path).put(rows(1, 2))
    path.write_bytes(path.read_bytes()[:-cut])
    file = opened(path)
    assert file.get([key(1), key(2)]) == [value(1), None]
    assert file.put(rows(2, 3))
    for one in (file, opened(path)):
        assert one.get([key(1), key(2), key(3)]) == [value(1), value(2), value(3)]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 1000])
def test_a_file_of_something_else(content: bytes, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    file = opened(path)
    assert file.get([key(1)]) == [None]
    assert file.put(rows(1))
    assert opened(path).get([key(1)]) == [value(1)]


def test_a_file_that_was_cut_short_while_open(path: Path) -> None:
    file = opened(path)
    file.put(rows(1, 2))
    path.write_bytes(path.read_bytes()[: ROW + 5])
    assert file.get([key(1), key(2)]) == [value(1), None]
    path.unlink()
    assert file.get([key(1)]) == [None]


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    for file in (opened(tmp_path / "file" / "x.rows"), opened(tmp_path)):
        with caplog.at_level(logging.INFO):
            assert file.get([key(1)]) == [None]
            assert not file.put(rows(1))
            assert not file.put(rows(2))
            assert file.get([key(1)]) == [None]
    assert len([line for line in caplog.records if "cannot" in line.getMessage()]) == 2, "each says so once"


def test_lengths_are_checked(path: Path) -> None:
    with pytest.raises(ValueError, match="32"):
        opened(path).put([(b"short", value(1))])
    with pytest.raises(ValueError, match="40"):
        opened(path).put([(key(1), b"short")])


def test_threads_share_a_file(path: Path) -> None:
    file = opened(path)

    def work(first: int) -> None:
        for number in range(first, first + 50):
            file.put(rows(number))
            assert file.get([key(number)]) == [value(number)]

    threads = [threading.Thread(target=work, args=(40 * place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened(path).get([key(number) for number in range(170)]) == [value(number) for number in range(170)]
    assert path.stat().st_size == 170 * ROW


def append(path: Path, first: int) -> None:
    """Append a hundred rows, one at a time."""
    file = opened(path)
    for number in range(first, first + 100):
        assert file.put(rows(number))


def test_processes_share_a_file(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append, args=(path, 100 * place)) for place in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert opened(path).get([key(number) for number in range(300)]) == [value(number) for number in range(300)]
