import base64
import io

import numpy as np
import pytest
from PIL import Image

from ants_engine.clip.image_ref import object_ref
from ants_engine.report.thumbnails import thumbnails
from ants_engine.settings.config import ImageSettings

NOISE = np.random.default_rng(0)


def noisy(side: int) -> Image.Image:
    return Image.fromarray(NOISE.integers(0, 255, (side, side, 3), dtype=np.uint8))


def decoded(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("bound", [2_000, 40_000, 1_000_000])
def test_all_together_stay_within_the_bound(bound: int) -> None:
    refs = [object_ref(row, noisy(300), kept=True) for row in range(12)]
    made = thumbnails(refs, ImageSettings(), bound)
    assert sum(len(one) for one in made if one) <= bound
    assert any(made)
    sides = {max(decoded(one).size) for one in made if one}
    assert max(sides) <= 160


def test_more_room_is_used() -> None:
    refs = [object_ref(0, noisy(300), kept=True)]
    small, large = (thumbnails(refs, ImageSettings(), bound)[0] for bound in (3_000, 100_000))
    assert small is not None
    assert large is not None
    assert max(decoded(small).size) < max(decoded(large).size) == 160


def test_a_picture_that_cannot_be_read_costs_itself_alone() -> None:
    refs = [object_ref(0, b"no picture", kept=True), None, object_ref(2, noisy(20), kept=True)]
    made = thumbnails(refs, ImageSettings(), 100_000)
    assert made[:2] == [None, None]
    assert made[2] is not None
    assert decoded(made[2]).size == (20, 20)


def test_where_a_picture_was_taken_stays_behind() -> None:
    picture = noisy(30)
    exif = Image.Exif()
    exif[0x010E] = "at home"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    (url,) = thumbnails([object_ref(0, buffer.getvalue(), kept=True)], ImageSettings())
    assert url is not None
    assert b"at home" in buffer.getvalue()
    assert b"at home" not in base64.b64decode(url.partition(",")[2])
    assert not decoded(url).getexif()
