"""Files that are written whole or not at all, and read within bounds."""

import io
import os
from pathlib import Path

import pytest

from ants_engine.common.atomic_file import draft_of, read_at_most, write_whole
from ants_engine.settings.config import ImageSettings


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("limit", [0, 1, 1 << 20, (2 << 20) + 7, 1 << 60])
def test_reading_ends_at_the_limit_or_with_the_file(size: int, limit: int) -> None:
    data = os.urandom(size)
    assert read_at_most(io.BytesIO(data), limit) == data[:limit]


def test_reading_never_asks_for_the_limit_at_once() -> None:
    asked: list[int] = []

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    read_at_most(Stream(b"x" * 5), 16 << 30)
    assert 0 < max(asked) <= 1 << 20
    assert min(asked) > 0


def test_drafts_of_one_place_never_have_one_name(tmp_path: Path) -> None:
    assert len({draft_of(tmp_path / "a") for _ in range(100)}) == 100
    write_whole(tmp_path / "a", b"1")
    write_whole(tmp_path / "a", b"2")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"2"]


def test_a_small_picture_is_read_under_a_large_bound(tmp_path: Path) -> None:
    from PIL import Image

    from ants_engine.clip.decode import load_rgb

    Image.new("RGB", (3, 2), (9, 8, 7)).save(tmp_path / "a.png")
    limits = ImageSettings(max_bytes=1 << 60)
    assert load_rgb(tmp_path / "a.png", name="a", limits=limits).size == (3, 2)
