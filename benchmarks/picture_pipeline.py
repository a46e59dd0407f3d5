"""Bars 4 and 5: picture files through CLIP and a stream, beside a `DataLoader`, the blocking order and a second run.

``python -m benchmarks.picture_pipeline [--pictures N] [--rounds N] [--described SHARE] [--no-peers]``.
"""

import argparse
import asyncio
import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ants_engine import ANTS
from ants_engine.clip.encoder import ClipEncoder, _run
from ants_engine.clip.picture import png_bytes
from ants_engine.clip.sources import open_images
from ants_engine.clip.worker import ClipWorker
from ants_engine.settings.config import ImageSettings
from benchmarks.random_clip import MODEL, random_clip
from benchmarks.table import Row, machine, table
from benchmarks.timing import medians
from tests.support.process import faulty_server

PICTURES, SIZE, QUALITY = 2_000, (500, 375), 90
ROUNDS = 5
BATCH, LAG, LATENCY = 64, 4, 0.3
BLOCKING_PICTURES = 128
DESCRIBED = 0.25
"""Share of the pictures that the MLLM describes: the paper asks for half of those that look foreign; here half do."""
CLASSES, NEGATIVES = 1_000, 10_000
WORKERS = (0, 1, 2)
"""Of the DataLoader: those are tried, and the best is kept."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements share."""

    encoder: ClipEncoder
    files: Sequence[Path]
    folder: Path
    server: str
    """``http://127.0.0.1:<port>/v1``."""
    described: float
    """Share of the pictures that are described."""


def run(
    pictures: int = PICTURES, rounds: int = ROUNDS, described: float = DESCRIBED, *, peers: bool = True
) -> list[Row]:
    """Measure all in turn, each round with an empty store and an empty feature store.

    Without ``peers``, the `DataLoader` and the blocking order are left out, which halves the time.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ants-benchmark-") as name,
        random_clip(BATCH) as encoder,
        faulty_server(Path(name) / "server.log", "--latency", f"{LATENCY}") as server,
    ):
        folder = Path(name)
        bench = Bench(encoder, make_pictures(pictures, folder / "pictures"), folder, server.base_url, described)
        return _rows(bench, _best_workers(bench) if peers else None, rounds)


def _rows(bench: Bench, workers: int | None, rounds: int) -> list[Row]:
    rates: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    described, encoded = [], []
    for number in range(rounds):
        calls: Mapping[str, Callable[[], Any]] = {
            "pipeline": lambda: asyncio.run(_encode(bench, bench.files)),
            "loader": lambda: _load_and_encode(bench, bench.files, workers or 0),
            "cold": lambda number=number: asyncio.run(_stream(bench, bench.files, f"{number}")),  # type: ignore[misc]
            "warm": lambda number=number: asyncio.run(_stream(bench, bench.files, f"{number}")),  # type: ignore[misc]
            "blocking": lambda number=number: asyncio.run(  # type: ignore[misc]
                _stream(bench, bench.files[:BLOCKING_PICTURES], f"{number}-blocking", lag=0, slots=1)
            ),
        }
        for name, call in calls.items():
            if workers is None and name in ("loader", "blocking"):
                continue
            count = min(BLOCKING_PICTURES, len(bench.files)) if name == "blocking" else len(bench.files)
            with _Counting(bench.encoder) as counting:
                started, used = time.perf_counter(), time.process_time()
                asked = call()
                rates.setdefault(name, []).append(count / (time.perf_counter() - started))
                cpu.setdefault(name, []).append(1000 * (time.process_time() - used) / count)
            if name == "cold":
                described.append(asked)
            if name == "warm":
                encoded.append(counting.pictures)
    rate = {name: median(found) for name, found in rates.items()}
    files = f"{len(bench.files):,} JPEGs of {SIZE[0]}×{SIZE[1]}, {MODEL}"
    share = f"{median(described) / len(bench.files):.0%} described, {1000 * LATENCY:.0f} ms an answer"
    return [
        Row(f"pictures, stream, lag {LAG}, {share}, {files}; limit: decode and encode alone",
            "pictures/s", rate["cold"], limit=rate["pipeline"], more_is_better=True, at_most=round(1 / 0.93, 3)),
        Row("… processor time of this process, all threads; limit: decode and encode alone",
            "ms a picture", median(cpu["cold"]), limit=median(cpu["pipeline"])),
        *([] if workers is None else [
            Row(f"pictures, decode and encode; baseline: DataLoader, {workers} workers",
                "pictures/s", rate["pipeline"], rate["loader"], more_is_better=True, at_least=1.0),
            Row(f"pictures, stream, lag {LAG}; baseline: lag 0, one question at a time",
                "pictures/s", rate["cold"], rate["blocking"], more_is_better=True, at_least=2.0),
        ]),
        Row("pictures, stream, a second time; baseline: the first time",
            "pictures/s", rate["warm"], rate["cold"], more_is_better=True, at_least=20.0),
        Row("pictures that CLIP encodes the second time",
            "pictures", max(encoded), limit=0, at_most=0, limit_is_difference=True),
        _tower_row(bench),
        *_png_rows(bench),
    ]  # fmt: skip


def make_pictures(count: int, folder: Path) -> list[Path]:
    """Write seeded JPEGs about as large and as hard to decode as photos: shapes on a gradient, under noise."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(count):
        rng = np.random.default_rng(number)
        corners = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        image = Image.fromarray(corners).resize(SIZE, Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            left, top, width, height = rng.integers(0, 300, 4).tolist()
            box, colour = (left, top, left + width + 9, top + height + 9), tuple(rng.integers(0, 256, 3).tolist())
            (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=colour)
        noise = rng.normal(0, 10, (SIZE[1], SIZE[0], 1))
        samples = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
        path = folder / f"{number:05}.jpg"
        Image.fromarray(samples).save(path, "JPEG", quality=QUALITY)
        paths.append(path)
    return paths


async def _encode(bench: Bench, files: Sequence[Path]) -> int:
    async with ClipWorker(bench.encoder) as worker:
        async for _ in worker.image_batches(open_images(list(files)), BATCH, ImageSettings()):
            pass
    return 0


async def _stream(bench: Bench, files: Sequence[Path], store: str, *, lag: int = LAG, slots: int | None = None) -> int:
    """Stream files through a detector of random class features; return how many questions were asked."""
    drawn = torch.Generator().manual_seed(0)
    ants = ANTS.from_features(
        [f"class {number}" for number in range(CLASSES)],
        _unit(CLASSES, bench.encoder.dim, drawn),
        negative_features=_unit(NEGATIVES, bench.encoder.dim, drawn),
        text_encoder=bench.encoder,
        config={
            # every picture is a candidate, so that the share is what is wanted whatever the random features
            "mining": {"gamma": 1.0, "eta": bench.described},
            "vsnl": {"delta": 0.008, "min_classes": 1},
            "clip": {"feature_store": str(bench.folder / store / "features")},
            "text": {"feature_cache": str(bench.folder / store / "features")},
            "mllm": {"backend": "openai", "model": "m", "base_url": bench.server},
            "dispatch": {"store": str(bench.folder / store / "store"), "runs": None, "max_concurrency": slots},
            "progress": {"bar": "off"},
        },
    )
    asked = 0
    async for scores in ants.stream(list(files), batch_size=BATCH, lag=lag):
        told = scores.adaptation
        asked += 0 if told is None else told.captions_asked or 0
    return asked


def _unit(count: int, dim: int, drawn: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=drawn), dim=1)


class _Files(Dataset[Tensor]):
    """What one writes by hand: Pillow and open_clip's own preprocessing."""

    def __init__(self, files: Sequence[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self._files = files
        self._transform = transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> Tensor:
        with Image.open(self._files[row]) as image:
            return self._transform(image.convert("RGB"))


def _load_and_encode(bench: Bench, files: Sequence[Path], workers: int) -> int:
    loader = DataLoader(_Files(files, bench.encoder._preprocess.whole), batch_size=BATCH, num_workers=workers)
    with torch.inference_mode():
        for batch in loader:
            torch.nn.functional.normalize(bench.encoder._model.encode_image(batch), dim=-1)
    return 0


def _best_workers(bench: Bench) -> int:
    files, seconds = bench.files[: 4 * BATCH], {}
    for workers in WORKERS:
        taken = []
        for _ in range(2):
            started = time.perf_counter()
            _load_and_encode(bench, files, workers)
            taken.append(time.perf_counter() - started)
        seconds[workers] = min(taken)
    return min(seconds, key=lambda workers: seconds[workers])


class _Counting:
    """Counts the pictures that an encoder encodes."""

    def __init__(self, encoder: ClipEncoder) -> None:
        self.pictures = 0
        self._encoder = encoder
        self._real = encoder.encode_inputs

    def __enter__(self) -> "_Counting":
        self._encoder.encode_inputs = self._count  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self._encoder.encode_inputs = self._real  # type: ignore[method-assign]

    def _count(self, inputs: Sequence[Tensor]) -> Tensor:
        self.pictures += len(inputs)
        return self._real(inputs)


def _tower_row(bench: Bench) -> Row:
    """Encode one batch with all of the last block, as open_clip does, and at its class token only."""
    batch = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    encoder = bench.encoder
    taken = medians({
        "ours": lambda: _run(encoder._picture_blocks, encoder._encode_image, batch),
        "whole": lambda: _run(encoder._picture_blocks, encoder._model.encode_image, batch),
    })  # fmt: skip
    ours, whole = (1000 * taken[name] / BATCH for name in ("ours", "whole"))
    return Row(f"{MODEL}'s vision tower; baseline: with all of its last block", "ms a picture", ours, whole)


def _png_rows(bench: Bench) -> list[Row]:
    """Pack what the MLLM is shown, as `png_bytes` and as Pillow does by default and at its quickest."""
    shown = []
    for path in bench.files[:8]:
        with Image.open(path) as image:
            shown.append(image.convert("RGB").resize((448, 336)))
    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: sum(len(png_bytes(image)) for image in shown),
        "default": lambda: sum(len(_pillow(image, 6)) for image in shown),
        "quickest": lambda: sum(len(_pillow(image, 1)) for image in shown),
    }
    taken = medians(ways)
    ours, default, quickest = (1000 * taken[name] / len(shown) for name in ways)
    larger = f"{ways['ours']() / ways['default']():.2f} × as large"
    return [
        Row(f"PNG for the MLLM; baseline: Pillow's default ({larger})", "ms a picture", ours, default),
        Row("PNG for the MLLM; baseline: Pillow at level 1", "ms a picture", ours, quickest),
    ]


def _pillow(image: Image.Image, level: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--described", type=float, default=DESCRIBED)
    parser.add_argument("--no-peers", action="store_true", help="leave out the DataLoader and the blocking order")
    given = parser.parse_args()
    print(table(run(given.pictures, given.rounds, given.described, peers=not given.no_peers)))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
