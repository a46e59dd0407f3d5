"""What may be given as ``images``, and what is said about the rest."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine.clip.sources import ImageRef, ImageStream, open_images
from ants_engine.errors import ImageError, ImageNotFoundError, ImageUnreadableError, NoImagesError
from ants_engine.settings.config import ImageSettings

SMALL = Image.new("RGB", (4, 3), (9, 8, 7))
LIMITS = ImageSettings()


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        SMALL.save(path, "PNG")


async def refs_of(images: Any) -> list[ImageRef]:
    return [ref async for ref in open_images(images)]


async def names_below(images: str | Path, root: Path) -> list[str]:
    return [Path(ref.name).relative_to(root).as_posix() for ref in await refs_of(images)]


# ---- files -----------------------------------------------------------------------------------------------------------


async def test_one_file(tmp_path: Path) -> None:
    put(tmp_path, "a.picture")
    for images in (tmp_path / "a.picture", str(tmp_path / "a.picture")):
        stream = open_images(images)
        (ref,) = [ref async for ref in stream]
        assert stream.total == 1
        assert (ref.index, ref.name, ref.key, ref.rereadable) == (0, str(images), str(images), True)
        assert ref.load(LIMITS).size == (4, 3)


async def test_a_folder_is_listed_in_order(tmp_path: Path) -> None:
    put(
        tmp_path,
        "b.PNG",
        "a/z.jpg",
        "a/y/x.webp",
        "a.jpeg",
        "B.gif",
        ".hidden.png",
        ".git/c.png",
        "a/10.png",
        "a/9.png",
    )
    (tmp_path / "notes.txt").write_text("not a picture")
    stream = open_images(tmp_path)
    names = await names_below(tmp_path, tmp_path)
    assert names == sorted(names) == ["B.gif", "a.jpeg", "a/10.png", "a/9.png", "a/y/x.webp", "a/z.jpg", "b.PNG"]
    assert stream.total == 7
    assert [ref.index async for ref in stream] == list(range(7))
    assert [ref.index async for ref in stream] == list(range(7)), "a folder can be run through again"


async def test_links_loops_and_files_reached_twice(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root, "m/1.png", "n/2.png")
    put(tmp_path, "outside/3.png")
    (root / "a").symlink_to(root / "m")
    (root / "loop").symlink_to(root)
    (root / "m" / "up").symlink_to(root)
    (root / "n" / "up").symlink_to(root / "n")
    (root / "also.png").symlink_to(root / "m" / "1.png")
    (root / "far").symlink_to(tmp_path / "outside")
    (root / "again").symlink_to(tmp_path / "outside")
    (root / "gone.png").symlink_to(root / "nothing.png")
    os.link(root / "m" / "1.png", root / "m" / "hard.png")
    expected = ["again/3.png", "gone.png", "m/1.png", "m/hard.png", "n/2.png"]
    assert await names_below(root, root) == expected
    assert await names_below(f"{root}/**", root) == expected
    assert await names_below(f"{root}/**/*.png", root) == expected
    gone = (await refs_of(root))[1]
    with pytest.raises(ImageNotFoundError, match=r"gone\.png"):
        gone.load(LIMITS)


async def test_patterns(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.jpg", "b/3.png", "b/c/4.png", "5.png", "b/.h/6.png", "[7].png")
    (tmp_path / "a" / "list.txt").write_text("x")
    (tmp_path / "d.png").mkdir()
    for pattern, expected in (
        ("*.png", ["5.png", "[7].png"]),
        ("*/*.png", ["a/1.png", "b/3.png"]),
        ("**/*.png", ["5.png", "[7].png", "a/1.png", "b/3.png", "b/c/4.png"]),
        ("b/**/*.png", ["b/3.png", "b/c/4.png"]),
        ("**/c/*", ["b/c/4.png"]),
        ("a/*", ["a/1.png", "a/2.jpg"]),
        ("a/*.*", ["a/1.png", "a/2.jpg", "a/list.txt"]),
        ("[ab]/?.*g", ["a/1.png", "a/2.jpg", "b/3.png"]),
        ("[7].png", ["[7].png"]),
    ):
        assert await names_below(f"{tmp_path}/{pattern}", tmp_path) == expected, pattern


async def test_relative_patterns_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1.png", "2.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [ref.name for ref in await refs_of("*/*.png")] == ["a/1.png"]
    assert [ref.name for ref in await refs_of("**/*.png")] == ["2.png", "a/1.png"]
    assert [ref.name for ref in await refs_of(".")] == ["2.png", "a/1.png"]
    assert [Path(ref.name).name for ref in await refs_of("~/a")] == ["1.png"]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ("nowhere", "no such file or folder"),
        ("nowhere/*.png", "no picture matches"),
        ("**/*.nothing", "no picture matches"),
        ("gone.png", "no such file or folder"),
        ("", "empty path"),
        ("  ", "empty path"),
        ("a\0b", "cannot be read|no such file"),
        ("empty", r"empty: no pictures .* \.jpg .*\.png"),
        ([], "empty"),
        ((), "empty"),
        (deque(), "empty"),
        (np.zeros((0, 4, 4, 3), np.uint8), "empty"),
        (np.zeros(7), "shape"),
        (np.zeros((1, 2, 3, 4, 5), np.uint8), "shape"),
        ({"a": SMALL}, "mapping"),
        ({"a.png", "b.png"}, "set"),
        (None, "None"),
        (3, "int"),
        (torch.zeros(2, 3, 4, 4), "torch"),
    ],
)
def test_nothing_to_look_at(images: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").touch()
    (tmp_path / "gone.png").symlink_to("nothing")
    with pytest.raises(NoImagesError, match=said):
        open_images(images)


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    with (tmp_path / "a.png").open("rb") as file, pytest.raises(NoImagesError, match="open file"):
        open_images(file)


async def test_folders_patterns_and_files_in_any_mix(tmp_path: Path) -> None:
    put(tmp_path, "a/2.png", "a/1.png", "b/3.png", "b/x", "c/4.png", "d[1].png", "5.png")
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "c" / "labels.json").touch()
    given: list[Any] = [
        tmp_path / "5.png", str(tmp_path / "b"), SMALL, f"{tmp_path}/c/*", str(tmp_path / "d[1].png"), tmp_path / "a/",
        tmp_path / "gone.png", str(tmp_path / "b"),
    ]  # fmt: skip
    expected = ["5.png", "b/3.png", "b/x", None, "c/4.png", "d[1].png", "a/1.png", "a/2.png", "gone.png"]
    for images in (given, tuple(given)):
        stream = open_images(images)
        refs = [ref async for ref in stream]
        found = [None if ref.key is None else Path(ref.key).relative_to(tmp_path).as_posix() for ref in refs]
        assert found == [*expected, "b/3.png", "b/x"], "what is given twice is there twice"
        assert [ref.index for ref in refs] == list(range(11))
        assert stream.total == 11
        assert stream.left_out == {".txt": 1, ".json": 1}
        assert stream.note == "left out 2 files that are not pictures: 1 × .json, 1 × .txt"
    folders = open_images(np.array([str(tmp_path / "a"), str(tmp_path / "c")]))
    assert folders.total == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [(["a", "empty"], "empty: no pictures"), (["a", "*.jpg"], "no picture matches"), (["a", "nowhere/"], "no such")],
)
def test_a_folder_of_a_list_that_gives_nothing_is_a_mistake(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/1.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoImagesError, match=said):
        open_images(given)


async def test_a_file_of_a_list_that_is_not_there_keeps_its_place(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    given = [str(tmp_path / name) for name in ("1.png", "gone.png", "gone", "gone [2].png")]
    refs = await refs_of([*given, ""])
    assert [ref.name for ref in refs] == [*given, ""]
    for ref in refs[1:]:
        with pytest.raises(ImageError):
            ref.load(LIMITS)


def test_a_long_list_of_files_asks_nothing_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def untouched(*_: object, **__: object) -> None:
        raise AssertionError("the disk was asked")

    monkeypatch.setattr(Path, "stat", untouched)
    monkeypatch.setattr(Path, "is_dir", untouched)
    assert open_images([f"{number}.jpg" for number in range(1000)]).total == 1000


def test_a_list_of_files_none_of_which_is_there_is_one_mistake(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    gone = [str(tmp_path / "2.png"), tmp_path / "3.png"]
    with pytest.raises(NoImagesError, match=r"none of the 2 files.*2\.png"):
        open_images(gone).refuse_gone()
    for there in ([*gone, tmp_path / "1.png"], [*gone, SMALL], [*gone, "https://a.example/x.png"]):
        open_images(there).refuse_gone()


async def test_a_tilde_is_home_only_where_a_shell_would_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "home/1.png", "~draft.png", "~/2.png")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder, images in (("", "~draft.png"), ("", ["~draft.png"]), ("home", "~/1.png"), ("home", ["~/1.png", "~"])):
        monkeypatch.chdir(tmp_path / folder)
        for ref in await refs_of(images):
            assert ref.load(LIMITS).size == (4, 3)
    monkeypatch.chdir(tmp_path)
    assert (await refs_of("~/2.png"))[0].key == str(tmp_path / "~/2.png"), "a file of that very name"
    with pytest.raises(NoImagesError, match="~nobody-of-that-name"):
        open_images("~nobody-of-that-name/1.png")


async def test_a_stream_is_given_on_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    stream = open_images(tmp_path)
    put(tmp_path, "2.png")
    assert open_images(stream) is stream
    assert len([ref async for ref in open_images(stream)]) == 1


# ---- objects ---------------------------------------------------------------------------------------------------------


async def test_a_list_of_everything(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    path = tmp_path / "a.png"
    stream = open_images([path, str(path), SMALL, np.asarray(SMALL), path.read_bytes()])
    refs = [ref async for ref in stream]
    assert [ref.name for ref in refs] == [str(path), str(path), "PIL.Image #2", "array #3", "bytes #4"]
    assert [ref.key for ref in refs] == [str(path), str(path), None, None, None]
    assert all(ref.rereadable for ref in refs)
    for ref in refs:
        ref.release()
        assert ref.load(LIMITS).getpixel((0, 0)) == (9, 8, 7)


async def test_what_a_list_must_not_hold() -> None:
    refs = await refs_of([torch.zeros(3, 4, 4), (SMALL, 1), None])
    for ref, said in zip(refs, ["torch.Tensor", "tuple", "NoneType"], strict=True):
        with pytest.raises(ImageUnreadableError, match=said):
            ref.load(LIMITS)


@pytest.mark.parametrize("images", [SMALL, np.asarray(SMALL), np.asarray(SMALL)[..., 0]])
async def test_one_picture(images: Any) -> None:
    stream = open_images(images)
    (ref,) = [ref async for ref in stream]
    assert stream.total == 1
    assert ref.load(LIMITS).size == (4, 3)


async def test_an_array_of_pictures() -> None:
    stream = open_images(np.zeros((3, 5, 6, 3), np.uint8))
    assert stream.total == 3
    refs = [ref async for ref in stream]
    assert [ref.name for ref in refs] == ["array #0", "array #1", "array #2"]
    assert refs[2].load(LIMITS).size == (6, 5)
    paths = open_images(np.array(["a.png", "b.png"]))
    assert [ref.name async for ref in paths] == ["a.png", "b.png"]


async def test_a_sized_iterable_knows_its_total() -> None:
    stream = open_images(deque([SMALL, SMALL]))
    assert stream.total == 2
    assert len([ref async for ref in stream]) == 2
    assert len([ref async for ref in stream]) == 2


# ---- iterators -------------------------------------------------------------------------------------------------------


async def test_a_generator_is_advanced_lazily_in_one_other_thread() -> None:
    threads = set()
    given = []

    def pictures() -> Iterator[Image.Image]:
        for i in range(100):
            threads.add(threading.current_thread())
            given.append(i)
            yield SMALL.copy()

    stream = open_images(pictures())
    assert stream.total is None
    async for ref in stream:
        assert not ref.rereadable
        assert len(given) == ref.index + 1
        if ref.index == 5:
            break
    assert len(given) == 6
    assert len(threads) == 1
    assert threading.current_thread() not in threads


async def test_the_loop_runs_while_an_iterator_blocks() -> None:
    ticked = threading.Event()

    def pictures() -> Iterator[Image.Image]:
        assert ticked.wait(10)
        yield SMALL

    async def tick() -> None:
        await asyncio.sleep(0)
        ticked.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(refs_of(pictures()))
        group.create_task(tick())
    assert len(task.result()) == 1


async def test_an_async_generator_is_taken_and_closed() -> None:
    closed = []

    async def pictures() -> AsyncIterator[Image.Image]:
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                yield SMALL
        finally:
            closed.append(True)

    stream = open_images(pictures())
    refs = [ref async for ref in stream]
    assert [ref.name for ref in refs] == ["PIL.Image #0", "PIL.Image #1", "PIL.Image #2"]
    assert closed
    with pytest.raises(NoImagesError, match="used up"):
        [ref async for ref in stream]


async def test_an_iterator_serves_once_and_an_iterable_again() -> None:
    class Pictures:
        def __iter__(self) -> Iterator[Image.Image]:
            return iter([SMALL, SMALL])

    once, again = open_images(iter([SMALL])), open_images(Pictures())
    assert len([ref async for ref in once]) == 1
    with pytest.raises(NoImagesError, match="used up"):
        [ref async for ref in once]
    assert len([ref async for ref in again]) == len([ref async for ref in again]) == 2


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_empty_iterator(kind: str) -> None:
    async def nothing() -> AsyncIterator[Image.Image]:
        return
        yield

    stream = open_images(iter([]) if kind == "sync" else nothing())
    with pytest.raises(NoImagesError, match="gave no picture"):
        [ref async for ref in stream]


async def test_an_error_of_the_users_iterator_arrives_as_it_is() -> None:
    def pictures() -> Iterator[Image.Image]:
        yield SMALL
        raise ZeroDivisionError("theirs")

    seen = 0
    with pytest.raises(ZeroDivisionError, match="theirs"):
        async for _ in open_images(pictures()):
            seen += 1
    assert seen == 1


async def test_cancelling_leaves_no_thread() -> None:
    release = threading.Event()

    def pictures() -> Iterator[Image.Image]:
        release.wait(10)
        yield SMALL

    before = threading.active_count()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(refs_of(pictures()), 0.05)
    release.set()
    for _ in range(200):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)  # noqa: ASYNC251
    assert threading.active_count() <= before


def test_finding_pictures_needs_no_torch() -> None:
    code = (
        "import sys, ants_engine.settings.config, ants_engine.clip.sources;"
        "import ants_engine.clip.picture, ants_engine.clip.image_ref;"
        "assert 'torch' not in sys.modules and 'open_clip' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stream_tells_whether_it_can_be_run_again() -> None:
    assert not open_images([SMALL]).one_shot
    assert open_images(iter([SMALL])).one_shot
    assert isinstance(open_images(SMALL), ImageStream)
