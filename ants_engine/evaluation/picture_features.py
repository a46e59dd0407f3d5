"""CLIP features of a benchmark's pictures: each distinct picture once, for all methods, seeds and prevalences."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.sources import open_images
from ants_engine.clip.worker import ClipWorker
from ants_engine.datasets.benchmark import Benchmark, BenchmarkSet
from ants_engine.errors import ImageError
from ants_engine.settings.config import Settings


async def encode_pictures(
    benchmark: Benchmark,
    encoder: ClipEncoder,
    settings: Settings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Return the benchmark with features.

    Sets are encoded one after the other, the ID set first, in the order of their lists, in batches of
    ``clip.batch_size``: which pictures make a batch, and with it a feature's last bits, depends on no seed and no
    prevalence. A picture that cannot be used gets an entry in its set's ``failures`` and keeps its row.

    Args:
        benchmark: a set that has features already is left as it is.
        encoder: a loaded CLIP.
        settings: ``clip.batch_size``, ``clip.feature_store`` and ``pictures`` are used; a bad picture never ends this.
        on_progress: called with the pictures done and their number.

    Raises:
        FeatureError: the model gave a number that is not finite.
    """
    limits = settings.pictures.model_copy(update={"on_error": "skip"})
    known: dict[object, torch.Tensor | ImageError] = {}
    waiting = [one for one in benchmark.sets if one.features is None]
    total = sum(len(one) for one in waiting)
    before = 0
    encoded: dict[str, BenchmarkSet] = {}
    async with ClipWorker(encoder) as worker:
        for one in waiting:
            if one.images is None:
                raise ValueError(f"{one.name}: neither images nor features")
            new = {_key(image): image for image in one.images if _key(image) not in known}
            keys, done = list(new), before + len(one) - len(new)
            if new:
                stream = open_images(list(new.values()))
                clip = settings.clip
                async for batch in worker.image_batches(
                    stream, clip.batch_size, limits, feature_store=clip.feature_store
                ):
                    for ref, feature in zip(batch.refs, batch.features, strict=True):
                        known[keys[ref.index]] = feature
                    for ref, error in batch.failures:
                        known[keys[ref.index]] = error
                    done += len(batch.refs) + len(batch.failures)
                    if on_progress is not None:
                        on_progress(done, total)
            before += len(one)
            encoded[one.name] = _with_features(one, known, encoder.dim)
    return replace(
        benchmark,
        id_set=encoded.get(benchmark.id_set.name, benchmark.id_set),
        ood_sets=tuple(encoded.get(one.name, one) for one in benchmark.ood_sets),
    )


def _with_features(one: BenchmarkSet, known: dict[object, torch.Tensor | ImageError], dim: int) -> BenchmarkSet:
    found = [known[_key(image)] for image in one.images or ()]
    blank = torch.zeros(dim)
    features = torch.stack([blank if isinstance(each, ImageError) else each for each in found])
    failures = {row: each for row, each in enumerate(found) if isinstance(each, ImageError)}
    return replace(one, features=features, failures=failures)


def _key(image: Any) -> object:
    """Tell whether two pictures are one: by place for files, by identity in memory."""
    return str(Path(image).absolute()) if isinstance(image, str | Path) else id(image)
