"""Lists of pictures: paths by lines, tables by a column, and where relative paths begin."""

import codecs
from pathlib import Path

import pytest

from ants_engine.clip.folder import read_picture_list
from ants_engine.clip.sources import open_images
from ants_engine.errors import NoImagesError, UsageError
from ants_engine.settings.config import ImageSettings


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_path_a_line_in_order_and_as_often_as_it_is_there(tmp_path: Path) -> None:
    put = [tmp_path / name for name in ("b 1.jpg", "a.jpg", "#c.jpg")]
    for path in put:
        path.touch()
    listed = write(tmp_path / "list.txt", "# mine\n\nb 1.jpg\r\na.jpg\na.jpg\n./#c.jpg\n")
    assert read_picture_list(listed) == [str(tmp_path / name) for name in ("b 1.jpg", "a.jpg", "a.jpg", "#c.jpg")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_encodings_are_no_part_of_a_path(encoding: str, tmp_path: Path) -> None:
    listed = write(tmp_path / "list.txt", "/x/käse.jpg\n/y.jpg\n".encode(encoding))
    assert read_picture_list(listed) == ["/x/käse.jpg", "/y.jpg"]
    assert codecs.BOM_UTF8 not in b"".join(path.encode() for path in read_picture_list(listed))


async def test_names_of_any_bytes_survive(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg"
    (tmp_path / name.decode("utf-8", "surrogateescape")).write_bytes(b"x")
    listed = write(tmp_path / "list.txt", name + b"\n")
    (ref,) = [ref async for ref in open_images(read_picture_list(listed))]
    assert ref.read(ImageSettings()) == b"x"


@pytest.mark.parametrize(
    ("name", "text", "column", "expected"),
    [
        ("a.csv", "id,path,label\n1,/x.jpg,3\n2,/y.jpg,4\n", None, ["/x.jpg", "/y.jpg"]),
        ("a.csv", "\ufeffFileName;label\n/x.jpg;3\n", None, ["/x.jpg"]),
        ("a.tsv", "label\timage\n3\t/x, y.jpg\n", None, ["/x, y.jpg"]),
        ("a.csv", 'where,path\n/x.jpg,"/a,b.jpg"\n', "where", ["/x.jpg"]),
        ("a.csv", 'where,path\n/x.jpg,"/a,b.jpg"\n', "PATH", ["/a,b.jpg"]),
        ("a.csv", "/x.jpg,3\n/y.jpg,4\n", None, ["/x.jpg", "/y.jpg"]),
        ("a.csv", "/x.jpg\n/y.jpg\n", None, ["/x.jpg", "/y.jpg"]),
        ("a.csv", "/folder\n", None, ["/folder"]),
        ("list.txt", "path,label\n/x.jpg,3\n", "path", ["/x.jpg"]),
        ("a.csv", "path\nhttps://a.example/x.jpg?a=1\n", None, ["https://a.example/x.jpg?a=1"]),
    ],
)
def test_tables(name: str, text: str, column: str | None, expected: list[str], tmp_path: Path) -> None:
    assert read_picture_list(write(tmp_path / name, text), column) == expected


@pytest.mark.parametrize(
    ("text", "column", "error", "said"),
    [
        ("a,b\n1,2\n", None, UsageError, "which of its columns.*--column: a, b"),
        ("path,image\n/x.jpg,/y.jpg\n", None, UsageError, "which of its columns"),
        ("path,label\n/x.jpg,3\n", "pth", UsageError, "no column 'pth'; did you mean 'path'.*: path, label"),
        ("path,label\n/x.jpg,3\n,4\n", None, UsageError, "row 3: no path"),
        ("path,label\n", None, NoImagesError, "no picture"),
        ("", None, NoImagesError, "no picture"),
    ],
)
def test_tables_that_do_not_say_which(
    text: str, column: str | None, error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        read_picture_list(write(tmp_path / "a.csv", text), column)


def test_relative_paths_begin_at_the_list_or_where_its_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    listed = write(tmp_path / "data" / "list.txt", "gone.jpg\nx.jpg\n")
    beside = [str(tmp_path / "data" / name) for name in ("gone.jpg", "x.jpg")]
    assert read_picture_list(listed) == beside, "nothing is anywhere"
    (tmp_path / "here" / "x.jpg").touch()
    assert read_picture_list(listed) == ["gone.jpg", "x.jpg"], "only here"
    (tmp_path / "data" / "x.jpg").touch()
    assert read_picture_list(listed) == beside, "beside the list"


def test_what_windows_and_excel_write_around_paths(tmp_path: Path) -> None:
    assert read_picture_list(write(tmp_path / "a.csv", "sep=;\npath;label\n/x.jpg;3\n")) == ["/x.jpg"]
    assert read_picture_list(write(tmp_path / "list.txt", '"/x y.jpg"\n"/z.jpg"\n')) == ["/x y.jpg", "/z.jpg"]


def test_the_error_names_the_option_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--list-column: a, b"):
        read_picture_list(write(tmp_path / "a.csv", "a,b\n1,2\n"), None, "--list-column")
