"""Named streams share CLIP and the MLLM, and nothing of what they learn."""

import json
from pathlib import Path

import torch

from ants_engine.clip.image_ref import Held, ImageRef
from ants_engine.learning.pictures import PictureBatch
from ants_engine.serve.options import ServeOptions
from ants_engine.serve.streams import NamedStreams
from tests.golden.stream_fixture import numbered_pictures
from tests.support.stream_world import PAPER, changed, cold, mllm, picture_features

FEATURES, PICTURES = torch.from_numpy(picture_features(24)), numbered_pictures(24)


def batch(start: int, size: int) -> PictureBatch:
    rows = range(start, start + size)
    refs: list[ImageRef | None] = [ImageRef(row, f"{row}", None, True, Held(PICTURES[row])) for row in rows]
    names = [str(row) for row in rows]
    return PictureBatch(refs, names, FEATURES[start : start + size], [None] * size, [], list(range(size)))


async def test_what_one_stream_does_is_in_its_own_folder_alone(tmp_path: Path) -> None:
    ants = cold(changed(PAPER, dispatch={"runs": None}))
    ants.save(tmp_path / "served")
    options = ServeOptions(streams=3, streams_folder=tmp_path / "streams")
    streams = NamedStreams(ants, mllm(), options)
    first, second = await streams.open("first"), await streams.open("second")
    await first.score(batch(0, 6))
    await second.score(batch(6, 5))
    await first.score(batch(11, 4))
    third = await streams.open("third")
    assert third.ants.report.batches == ants.report.batches == []
    assert await streams.aclose() == []

    def sizes(name: str) -> list[int]:
        manifest = json.loads((tmp_path / "streams" / name / "detector.json").read_text())
        return [record["pictures"] for record in manifest["report"]["batches"]]

    assert (sizes("first"), sizes("second"), sizes("third")) == ([6, 4], [5], [])


async def test_a_stream_that_was_saved_goes_on_under_the_servers_settings(tmp_path: Path) -> None:
    ants = cold(changed(PAPER, dispatch={"runs": None}))
    options = ServeOptions(streams=1, streams_folder=tmp_path)
    streams = NamedStreams(ants, mllm(), options)
    await (await streams.open("one")).score(batch(0, 6))
    await streams.aclose()
    ants.threshold = 1.01
    again = NamedStreams(ants, mllm(), options)
    stream = await again.open("one")
    assert (stream.ants.state.pictures, stream.ants.threshold) == (6, 1.01)
    assert (await stream.score(batch(6, 5))).is_outlier.all()
    await again.aclose()
