"""Answers that no store can take end in a file that brings them back."""

import stat
import tempfile
from pathlib import Path

import pytest

from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage.cassette import import_, rescue
from ants_engine.dispatch.storage.entry import Entry, Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import IDENTITY, PICTURE, make_request

MODEL = RecordedIdentity("fake", "tiny", IDENTITY)


def entries() -> list[Entry]:
    shown = make_request("猫 \x1b[2J", task="ens", picture=PICTURE, picture_sha256=PICTURE.sha256)
    return [
        *(Entry(make_request(f"{number}"), Answer(f"answer {number}", "stop", 3, None)) for number in range(30)),
        Entry(shown, Answer("a cat\n\u2028")),
        Entry(make_request("failed"), Failure("RateLimitError", "slow down")),
    ]


async def test_it_lies_beside_the_store_and_can_be_imported(folder: Path) -> None:
    path = await rescue(entries(), folder, [MODEL])
    assert path.parent == folder.parent
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with ResponseStore(folder) as store:
        assert await import_(path, store) == 32
        assert {entry.request.key: entry.ending async for entry in store.entries()} == {
            entry.request.key: entry.ending for entry in entries()
        }
        assert await store.get_identities() == [MODEL]


async def test_two_at_once_get_a_file_each(folder: Path) -> None:
    assert await rescue(entries(), folder) != await rescue(entries(), folder)


async def test_where_nothing_can_be_written_beside_it_is_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    path = await rescue(entries(), tmp_path / "file" / "store")
    assert path.parent == tmp_path / "temporary"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreUnavailableError, match=r"32 answers cannot be written.*file/.*gone/"):
        await rescue(entries(), tmp_path / "file" / "store")
