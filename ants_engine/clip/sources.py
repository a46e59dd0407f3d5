"""The ``images`` argument in all its forms, as one stream of references."""

import asyncio
import glob
import os
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from ants_engine.clip.folder import SUFFIXES, Listing, left_out_note, pictures_below, pictures_matching
from ants_engine.clip.image_ref import ImageRef, object_ref
from ants_engine.clip.web_address import web_scheme
from ants_engine.common.text_file import expand_home
from ants_engine.errors import NoImagesError

__all__ = ["ImageRef", "ImageStream", "Images", "open_images"]

Images: TypeAlias = str | Path | bytes | Image.Image | np.ndarray[Any, Any] | Iterable[Any] | AsyncIterable[Any]
"""A file, a folder, a glob pattern, a web address, a picture, a list of any of these, or any (async) iterable of
pictures, files, addresses."""

_END = object()


class ImageStream:
    """The pictures of one input, in order, as `ImageRef`. Nothing is decoded here.

    A list, folder or array can be iterated repeatedly; a one-shot iterator once, lazily, and it is never stored.
    """

    def __init__(
        self, begin: Callable[[], AsyncGenerator[ImageRef, None]], *, total: int | None, one_shot: bool
    ) -> None:
        self._begin = begin
        self._spent = False
        self.total = total
        """Number of pictures, where it is known in advance."""
        self.one_shot = one_shot
        """It can be iterated only once."""
        self.empty_allowed = False
        """An iterator without any picture is no error."""
        self.left_out: Counter[str] = Counter()
        """Number of files in folders that are no pictures, by suffix; see `Listing`."""
        self.refuse_gone: Callable[[], None] = lambda: None
        """Raises `NoImagesError` if none of a list's files exists: one mistake, not many broken pictures."""

    @property
    def note(self) -> str | None:
        """Describe the files that were left out of folders; None where there are none."""
        return left_out_note(self.left_out)

    async def __aiter__(self) -> AsyncGenerator[ImageRef, None]:
        """Yield every picture's reference.

        Raises:
            NoImagesError: there are none, or a one-shot stream is iterated a second time.
        """
        if self._spent and self.one_shot:
            raise NoImagesError("`images` is an iterator and has already been used up; give a list, or a new iterator")
        self._spent = True
        empty = True
        async with aclosing(self._begin()) as refs:
            async for ref in refs:
                empty = False
                yield ref
        if empty and not self.empty_allowed:
            raise NoImagesError("`images` is empty: the iterator gave no picture")


def open_images(images: Images) -> ImageStream:
    """Open the ``images`` argument as a stream. Blocking where a folder is listed.

    In a list, folders and patterns are replaced by their pictures; a missing file keeps its place, and `ImageRef.load`
    reports it. Repetitions are kept.

    Raises:
        NoImagesError: there are no pictures (an empty list or folder, a pattern without a match, a missing path), or
            the type is unsupported (a mapping, a tensor, an open file).
    """
    if isinstance(images, ImageStream):
        return images
    if isinstance(images, str | Path | bytes | bytearray | memoryview | Image.Image):
        return _of_items([images], alone=True)
    if isinstance(images, np.ndarray):
        return _from_array(images)
    _refuse(images)
    if isinstance(images, AsyncIterable):
        return ImageStream(lambda: _pull_async(images), total=None, one_shot=isinstance(images, AsyncIterator))
    if isinstance(images, Sequence) and not len(images):
        raise NoImagesError("`images` is empty")
    if isinstance(images, list | tuple):
        return _of_items(images)
    if not isinstance(images, Iterable) and not hasattr(images, "__getitem__"):
        raise NoImagesError(f"pictures cannot be had from a {type(images).__name__}; {_ACCEPTED}")
    total = None
    with suppress(TypeError, NotImplementedError):
        total = len(images)  # type: ignore[arg-type]
    return ImageStream(lambda: _pull(images), total=total, one_shot=isinstance(images, Iterator))


_ACCEPTED = "give paths, a folder, a glob pattern, PIL pictures, uint8 arrays, bytes, or an iterable of them"


def _known(total: int, begin: Callable[[], Iterator[ImageRef]]) -> ImageStream:
    async def run() -> AsyncGenerator[ImageRef, None]:
        for ref in begin():
            yield ref

    return ImageStream(run, total=total, one_shot=False)


def _of_items(given: Sequence[Any], *, alone: bool = False) -> ImageStream:
    """Refer to every item, folders and patterns replaced by their pictures."""
    items: list[Any] | None = None
    left_out: Counter[str] = Counter()
    for position, item in enumerate(given):
        listing = _listed(item, alone=alone)
        if listing is None:
            if items is not None:
                items.append(item)
            continue
        if items is None:
            # a list of files only is never copied
            items = list(given[:position])
        items += listing.pictures
        left_out += listing.left_out
    kept = given if items is None else items
    stream = _known(len(kept), lambda: (object_ref(i, item, kept=True) for i, item in enumerate(kept)))
    stream.left_out = left_out
    stream.refuse_gone = partial(_refuse_gone, kept)
    return stream


def _refuse_gone(items: Sequence[Any]) -> None:
    first: object = None
    for item in items:
        if not isinstance(item, str | Path) or _is_address(item) or _is_there(expand_home(item)):
            return
        first = item if first is None else first
    raise NoImagesError(f"none of the {len(items)} files that were given is there, first: {first}")


def _is_there(path: "str | os.PathLike[str]") -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        # an impossible file name; loading it reports the error
        return True


def _is_address(images: str | Path) -> bool:
    return isinstance(images, str) and web_scheme(images) is not None


def _listed(item: object, *, alone: bool) -> Listing | None:
    """List the pictures of a folder or a pattern; None for a single picture.

    Raises:
        NoImagesError: there are none; or, where the item was given ``alone``, it cannot be read.
    """
    if not isinstance(item, str | Path) or _is_address(item):
        return None
    text = str(item)
    if alone and not text.strip():
        raise NoImagesError("`images` is an empty path")
    # a name with a picture's suffix costs no disk access: a long list may hold nothing else
    named = not glob.has_magic(text) and os.path.splitext(text)[1].lower() in SUFFIXES  # noqa: PTH122
    if not alone and (named or not text.strip()):
        return None
    try:
        return _found(text, alone=alone)
    except (OSError, ValueError) as error:
        if alone:
            raise NoImagesError(f"{text}: cannot be read ({error})") from error
        # it keeps its place in the list, and loading it reports the error
        return None


def _found(text: str, *, alone: bool) -> Listing | None:
    path = Path(expand_home(text))
    if path.is_dir():
        return _folder(path, text)
    # file names may contain brackets, so the literal meaning comes first
    if path.exists() or path.is_symlink() or not glob.has_magic(text):
        if not path.exists() and (alone or text.endswith(("/", os.sep))):
            raise NoImagesError(f"{text}: no such file or folder")
        return Listing([Path(text)]) if alone else None
    matched = pictures_matching(str(path))
    if matched.pictures:
        return matched
    if not alone and not {"*", "?"}.intersection(text):
        # brackets alone are more likely part of a file name
        return None
    note = left_out_note(matched.left_out)
    raise NoImagesError(f"{text}: no picture matches this pattern" + (f" ({note})" if note else ""))


def _folder(path: Path, text: str) -> Listing:
    found = pictures_below(path)
    if found.pictures:
        return found
    note = left_out_note(found.left_out)
    raise NoImagesError(
        f"{text}: no pictures in this folder or below{f' ({note})' if note else ''}; looked for files ending in "
        f"{' '.join(sorted(SUFFIXES))}, and for others that begin as a picture does"
    )


def _from_array(array: np.ndarray[Any, Any]) -> ImageStream:
    if array.ndim == 4 or (array.ndim == 1 and array.dtype.kind in "OU"):
        if len(array) == 0:
            raise NoImagesError(f"`images` is an empty array of shape {array.shape}")
        if array.ndim == 1:
            return _of_items(array.tolist())
        return _known(len(array), lambda: (object_ref(i, item, kept=True) for i, item in enumerate(array)))
    if array.ndim in (2, 3):
        return _known(1, lambda: iter([object_ref(0, array, kept=True)]))
    raise NoImagesError(
        f"`images` is an array of shape {array.shape}; one picture is (H, W, 3), several are (N, H, W, 3), uint8"
    )


def _refuse(images: object) -> None:
    """Refuse iterables that are no sequence of pictures, with the remedy."""
    kind = f"{type(images).__module__.partition('.')[0]}.{type(images).__qualname__}"
    if kind.startswith("torch.") and hasattr(images, "detach"):
        raise NoImagesError(
            "`images` is a torch tensor; give a uint8 array (N, H, W, 3), for instance "
            "`tensor.permute(0, 2, 3, 1).cpu().numpy()` of values 0 to 255"
        )
    if isinstance(images, Mapping):
        raise NoImagesError(f"`images` is a mapping; give its pictures alone: `list(images.values())`. {_ACCEPTED}")
    if hasattr(images, "read"):
        raise NoImagesError("`images` is an open file; give its path, or `file.read()`")
    if isinstance(images, set | frozenset):
        raise NoImagesError("`images` is a set, which has no order; give a list: `sorted(images)`")
    if images is None:
        raise NoImagesError(f"`images` is None; {_ACCEPTED}")


async def _pull_async(images: AsyncIterable[Any]) -> AsyncGenerator[ImageRef, None]:
    index = 0
    iterator = aiter(images)
    try:
        async for item in iterator:
            yield object_ref(index, item, kept=False)
            index += 1
    finally:
        # close it now rather than at garbage collection
        close = getattr(iterator, "aclose", None)
        if close is not None and iterator is not images:
            await close()


async def _pull(images: Iterable[Any]) -> AsyncGenerator[ImageRef, None]:
    """Advance a blocking iterator in a thread of its own, so that it never blocks the loop."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="ants-images")
    iterator: Any = None

    def begin() -> None:
        nonlocal iterator
        iterator = iter(images)

    def close() -> None:
        with suppress(Exception):
            getattr(iterator, "close", lambda: None)()

    idle = True
    try:
        await loop.run_in_executor(thread, begin)
        index = 0
        while True:
            item = await loop.run_in_executor(thread, next, iterator, _END)
            if item is _END:
                return
            yield object_ref(index, item, kept=False)
            del item
            index += 1
    except asyncio.CancelledError:
        # a running `next` of the user's cannot be interrupted; the thread ends when it returns
        idle = False
        raise
    finally:
        if iterator is not images:
            # in the same thread, after that `next`: a running generator cannot be closed
            thread.submit(close)
        thread.shutdown(wait=idle)
