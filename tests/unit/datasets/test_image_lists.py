import os
from pathlib import Path

import pytest

from ants_engine.datasets.openood import ListedImage, read_image_list
from ants_engine.errors import ImageNotFoundError, UsageError


def listed(folder: Path, text: str | bytes) -> Path:
    path = folder / "test_near.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_reads_a_list(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/1.png", "ü.png"):
        (tmp_path / name).touch()
    file = listed(tmp_path, "# a comment\n\na/1.png 7\r\n  ü.png   -1  \n")
    assert read_image_list(file, tmp_path) == [
        ListedImage(tmp_path / "a/1.png", 7),
        ListedImage(tmp_path / "ü.png", -1),
    ]
    assert read_image_list(str(file), str(tmp_path))[1].label == -1


def test_a_missing_picture_is_named(tmp_path):
    file = listed(tmp_path, "gone.png 1\n")
    with pytest.raises(ImageNotFoundError, match=r"gone\.png.*line 1"):
        read_image_list(file, tmp_path)
    assert read_image_list(file, tmp_path, check_files=False) == [ListedImage(tmp_path / "gone.png", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png 1\nb.png\n", "line 2: 'b.png' is not 'relative/path label'$"),
        ("a.png\t1\n", "line 1.*not by a tab or comma"),
        ("a.png,1\n", "line 1.*not by a tab or comma"),
        ("a.png one\n", "line 1: the label 'one' is not a whole number"),
        ("a.png 1.5\n", "not a whole number"),
        ("a.png 1_0\n", "not a whole number"),
        ("my cat.png 1\n", "'cat.png 1' is not a whole number.*first space"),
        ("a.png -2\n", "below -1"),
        ("/etc/passwd 1\n", "leads out of"),
        ("a/../../b.png 1\n", "leads out of"),
        ("# nothing\n\n", "lists no picture"),
        (b"b\xe4r.png 1\n", "not UTF-8"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_image_list(listed(tmp_path, text), tmp_path, check_files=False)


def test_no_list(tmp_path):
    with pytest.raises(UsageError, match="there is no image list"):
        read_image_list(tmp_path / "absent.txt", tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_image_list(tmp_path, tmp_path)


def test_the_name_of_a_file_that_is_there_may_be_any_bytes(tmp_path):
    name = os.fsdecode(b"b\xe4r.png")
    (tmp_path / name).touch()
    (found,) = read_image_list(listed(tmp_path, b"b\xe4r.png 1\n"), tmp_path)
    assert found.path == tmp_path / name
