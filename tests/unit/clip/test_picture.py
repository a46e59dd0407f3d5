"""Shrinking, encoding and naming a picture; keeping one in a temporary folder."""

import gc
import hashlib
import io
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ants_engine.clip.image_ref import Spool, object_ref
from ants_engine.clip.picture import encode_picture, shrink
from ants_engine.errors import ImageNotFoundError, ImageUnreadableError, StoreUnavailableError
from ants_engine.settings.config import ImageSettings

NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (30, 47, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        ((100, 50), 40, (40, 20)),
        ((50, 100), 40, (20, 40)),
        ((30, 20), 40, (30, 20)),
        ((40, 40), 40, (40, 40)),
        ((5000, 1), 40, (40, 1)),
        ((99, 66), 10, (10, 7)),
        ((3, 2), 1, (1, 1)),
    ],
)
def test_sides_after_shrinking(size: tuple[int, int], most: int, expected: tuple[int, int]) -> None:
    assert shrink(Image.new("RGB", size), most).size == expected


def test_shrinking_twice_is_shrinking_once() -> None:
    once = shrink(NOISE, 20)
    assert encode_picture(once, 20) == encode_picture(NOISE, 20)


def test_the_png_holds_the_samples_and_nothing_else() -> None:
    given = NOISE.copy()
    given.info |= {"comment": "where it was taken", "exif": b"Exif\0\0", "icc_profile": b"x" * 200}
    picture = encode_picture(given, 448)
    assert picture.media_type == "image/png"
    with Image.open(io.BytesIO(picture.data)) as again:
        assert again.tobytes() == NOISE.tobytes()
        assert (picture.width, picture.height) == again.size
        assert not again.info
    assert "comment" in given.info


def test_the_name_is_over_samples_and_size() -> None:
    digest = hashlib.sha256(b"RGB" + (47).to_bytes(8, "big") + (30).to_bytes(8, "big") + NOISE.tobytes()).hexdigest()
    assert encode_picture(NOISE, 448).sha256 == digest
    same_samples = Image.frombytes("RGB", (30, 47), NOISE.tobytes())
    assert encode_picture(same_samples, 448).sha256 != digest


def test_only_rgb_is_encoded() -> None:
    with pytest.raises(ValueError, match="RGBA"):
        encode_picture(NOISE.convert("RGBA"), 448)


def test_the_spool_gives_back_what_was_put(tmp_path: Path) -> None:
    ref = object_ref(7, NOISE, kept=False)
    with closing(Spool(tmp_path)) as spool:
        assert not list(tmp_path.iterdir())
        kept = spool.put(ref, NOISE, 20)
        assert (kept.index, kept.name, kept.rereadable) == (7, "PIL.Image #7", True)
        assert encode_picture(kept.load(ImageSettings()), 448) == encode_picture(NOISE, 20)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    spool.close()
    with pytest.raises(Exception, match=r"PIL\.Image #7"):
        kept.load(ImageSettings())


def test_the_spool_is_emptied_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), closing(Spool(tmp_path)) as spool:
        spool.put(object_ref(0, NOISE, kept=False), NOISE, 20)
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_spool_without_a_place(tmp_path: Path) -> None:
    with closing(Spool(tmp_path / "missing")) as spool, pytest.raises(StoreUnavailableError, match="TMPDIR"):
        spool.put(object_ref(0, NOISE, kept=False), NOISE, 20)


def test_a_kept_picture_goes_with_the_last_reference_to_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    refs = [spool.put(object_ref(3, NOISE, kept=False), NOISE, 20) for _ in range(3)]
    same = replace(refs[0], name="another name")
    assert len(list(tmp_path.glob("*/*.png"))) == 3, "an index may come twice: streams share a spool"
    del refs[0]
    gc.collect()
    assert len(list(tmp_path.glob("*/*.png"))) == 3
    assert same.load(ImageSettings()).size == (20, 13)
    del same, refs[0]
    gc.collect()
    assert len(list(tmp_path.glob("*/*.png"))) == 1


def test_the_folder_lives_as_long_as_anything_that_needs_it(tmp_path: Path) -> None:
    kept = Spool(tmp_path).put(object_ref(3, NOISE, kept=False), NOISE, 20)
    gc.collect()
    assert kept.load(ImageSettings()).size == (20, 13)
    del kept
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_closed_spool_begins_anew(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    gone = spool.put(object_ref(3, NOISE, kept=False), NOISE, 20)
    spool.close()
    again = spool.put(object_ref(4, NOISE, kept=False), NOISE, 20)
    assert again.load(ImageSettings()).size == (20, 13)
    with pytest.raises(ImageNotFoundError):
        gone.load(ImageSettings())
    del gone
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_released_reference_says_so() -> None:
    passing, staying = object_ref(0, NOISE, kept=False), object_ref(1, NOISE, kept=True)
    passing.release()
    staying.release()
    with pytest.raises(ImageUnreadableError, match="one-shot"):
        passing.load(ImageSettings())
    assert staying.load(ImageSettings()).size == NOISE.size
    assert "bytes" in repr(object_ref(3, b"\x89PNG" * 9, kept=True))
    assert "x89" not in repr(object_ref(3, b"\x89PNG" * 9, kept=True))
