from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.datasets.benchmark import Benchmark, BenchmarkSet
from ants_engine.evaluation.runner import encode_pictures
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings
from tests.support.features import image_features


def make(folder: Path, images: list[Image.Image]) -> tuple[Benchmark, Settings]:
    """Five ID pictures, the first listed twice; three OOD ones, of which one is an ID picture and one is none."""
    paths = [folder / f"{number}.png" for number in range(7)]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    bad = folder / "bad.png"
    bad.write_bytes(b"no picture")
    ids = BenchmarkSet("id", None, np.zeros(6, dtype=np.int64), (*paths[:5], paths[0]))
    ood = BenchmarkSet("near", "near", np.full(4, -1), (paths[5], bad, str(paths[2]), paths[6]))
    settings = load_settings({"clip": {"batch_size": 4}, "pictures": {"on_error": "raise"}})
    return Benchmark("small", "lists", ("cat",), ids, (ood,)), settings


async def test_every_distinct_picture_is_encoded_once(
    tmp_path: Path, images: list[Image.Image], encoder: ClipEncoder
) -> None:
    small, settings = make(tmp_path, images)
    told: list[tuple[int, int]] = []
    found = await encode_pictures(small, encoder, settings, lambda *one: told.append(one))
    ids, ood = found.id_set.features, found.ood_sets[0].features
    assert ids is not None
    assert ood is not None
    assert torch.equal(ids[0], ids[5])
    assert torch.equal(ood[2], ids[2])
    assert list(found.ood_sets[0].failures) == [1]
    assert "bad.png" in str(found.ood_sets[0].failures[1])
    # batches of five distinct ID pictures and three new OOD ones: 4 and 1, then 3
    assert told == [(5, 10), (6, 10), (10, 10)]
    expected = torch.cat([image_features(encoder, images[:4]), image_features(encoder, images[4:5])])
    assert torch.allclose(ids[:5], expected, atol=1e-5)


async def test_a_sets_features_do_not_depend_on_the_sets_beside_it(
    tmp_path: Path, images: list[Image.Image], encoder: ClipEncoder
) -> None:
    small, settings = make(tmp_path, images)
    other = replace(small.ood_sets[0], name="far", images=small.ood_sets[0].images)
    alone = await encode_pictures(small, encoder, settings)
    beside = await encode_pictures(replace(small, ood_sets=(small.ood_sets[0], other)), encoder, settings)
    for one, two in zip(alone.sets, beside.sets, strict=False):
        assert one.features is not None
        assert two.features is not None
        assert torch.equal(one.features, two.features)
