"""What a folder holds: pictures by what they are, the rest counted, and nothing lost without a word."""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from ants_engine.clip.folder import left_out_note, pictures_below, pictures_matching
from ants_engine.clip.image_ref import file_ref
from ants_engine.errors import ImageError, ImageUnreadableError
from ants_engine.settings.config import ImageSettings

LIMITS = ImageSettings()


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (9, 8, 7)).save(buffer, kind)
    return buffer.getvalue()


JPEG = encoded("JPEG")


def put(folder: Path, *names: str, data: bytes = JPEG) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path
        for below in path.rglob("*"):
            if below.is_dir() and not below.is_symlink():
                below.chmod(0o755)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be somebody whom permissions hold back."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_a_picture_is_one_under_any_ending_and_under_none(tmp_path: Path) -> None:
    odd = ["0001f3ac", "a.jpg_large", "b.pjpeg", "c.jxl", "d.hif", "e.MPO", "f.jpg!w500", "g.data", "h.JPG"]
    put(tmp_path, *odd)
    for kind in ("PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "QOI"):
        put(tmp_path, f"z_{kind}", data=encoded(kind))
    found = pictures_below(tmp_path)
    assert names(found.pictures, tmp_path)[:9] == odd
    assert len(found.pictures) == 9 + 9
    assert not found.left_out


def test_what_is_left_out_is_counted_by_its_ending(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "2.jpg")
    put(tmp_path, "a.txt", "sub/b.TXT", "c.json", "LICENSE", "d.data", "e.svg", "f.mp4", data=b"words")
    put(tmp_path, "g.nef", data=encoded("TIFF"))
    put(tmp_path, "empty", data=b"")
    found = pictures_below(tmp_path)
    assert names(found.pictures, tmp_path) == ["1.jpg", "2.jpg"]
    assert found.left_out == {".txt": 2, ".json": 1, "no ending": 2, ".data": 1, ".svg": 1, ".mp4": 1, ".nef": 1}
    note = left_out_note(found.left_out)
    assert note is not None
    assert note.startswith("left out 9 files that are not pictures: 2 × .txt, 2 × no ending, 1 × .data")
    assert left_out_note({}) is None


def test_files_whose_ending_says_what_they_are_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "1.jpg", "2.png", "3.txt", "4.json", "5.zip")

    def untouched(*_: object, **__: object) -> None:
        raise AssertionError("the file was opened")

    monkeypatch.setattr(Path, "open", untouched)
    assert len(pictures_below(tmp_path).pictures) == 2


def test_what_systems_leave_behind_is_nobodys_picture(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/.DS_Store", "a/._1.jpg", ".git/2.jpg", "@eaDir/1.jpg/thumb.jpg", "__MACOSX/1.jpg")
    put(tmp_path, "a/Thumbs.db", "desktop.ini", data=b"x")
    for found in (pictures_below(tmp_path), pictures_matching(f"{tmp_path}/**")):
        assert names(found.pictures, tmp_path) == ["a/1.jpg"]
        assert not found.left_out


def test_a_folder_that_cannot_be_read_keeps_a_place_and_says_why(place: Path) -> None:
    put(place, "a/1.jpg", "locked/2.jpg", "z/3.jpg")
    (place / "locked").chmod(0)
    with unprivileged():
        patterns = (f"{place}/**", f"{place}/**/*.jpg", f"{place}/*/*.jpg", f"{place}/*/?.jpg")
        for found in (pictures_below(place), *map(pictures_matching, patterns)):
            assert names(found.pictures, place) == ["a/1.jpg", "locked", "z/3.jpg"]
        with pytest.raises(ImageUnreadableError, match=r"locked: is a folder that cannot be read .*missing"):
            file_ref(0, place / "locked").load(LIMITS)
        assert names(pictures_matching(f"{place}/*.jpg").pictures, place) == [], "it cannot hold what matches"
        with pytest.raises(PermissionError):
            pictures_below(place / "locked")


def test_a_file_that_cannot_be_looked_into_counts_as_a_picture(place: Path) -> None:
    put(place, "1.jpg", "secret")
    (place / "secret").chmod(0)
    with unprivileged():
        assert names(pictures_below(place).pictures, place) == ["1.jpg", "secret"]
        with pytest.raises(ImageUnreadableError, match="permission denied"):
            file_ref(0, place / "secret").load(LIMITS)


def test_links_that_lead_nowhere_keep_a_place(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg")
    (tmp_path / "part2").symlink_to(tmp_path / "not_mounted")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "gone.txt")
    found = pictures_below(tmp_path)
    assert names(found.pictures, tmp_path) == ["1.jpg", "part2", "round"]
    assert found.left_out == {".txt": 1}
    for path in found.pictures[1:]:
        with pytest.raises(ImageError):
            file_ref(0, path).load(LIMITS)


def test_patterns_reach_hidden_places_only_when_asked(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/.h/2.jpg", "a/.3.jpg")
    for pattern, expected in (
        ("*/*.jpg", ["a/1.jpg"]),
        ("a/.*/*.jpg", ["a/.h/2.jpg"]),
        ("**/.h/*", ["a/.h/2.jpg"]),
        ("a/.*.jpg", ["a/.3.jpg"]),
        ("*/1.jpg", ["a/1.jpg"]),
        ("nowhere/*/1.jpg", []),
    ):
        assert names(pictures_matching(f"{tmp_path}/{pattern}").pictures, tmp_path) == expected, pattern


def test_a_pattern_reaches_one_place_by_every_way_that_it_names(tmp_path: Path) -> None:
    put(tmp_path, "real/x/1.jpg")
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    assert names(pictures_matching(f"{tmp_path}/alia?/x/*.jpg").pictures, tmp_path) == ["alias/x/1.jpg"]
    assert names(pictures_matching(f"{tmp_path}/*/x/*.jpg").pictures, tmp_path) == ["alias/x/1.jpg"], "once"
