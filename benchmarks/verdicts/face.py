"""Bar 3: `ANTS.build` and `ANTS.stream` by preset `engine`, on stored features, with an MLLM that errs.

Nothing is simulated but the MLLM: it verifies or describes numbered pictures, confirming the share a of ID pictures and
b of OOD ones, so the whole engine is measured, questions and answers in words included. Classes, words, sentences and
look-alikes of a `World` have made-up names; their features are the stored ones.
"""

import asyncio
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ants_engine import ANTS, Settings, load_settings
from ants_engine.backends.scripted import ScriptedBackend, Shows, verify_or_describe
from ants_engine.clip.encoding import GivenEncoder
from ants_engine.method.metrics import auroc
from ants_engine.protocol import Call
from benchmarks.clip_features import numbered_images
from benchmarks.verdicts.bars import Given, Report, markdown
from benchmarks.verdicts.states import drawn
from benchmarks.verdicts.worlds import World, standard_worlds

IF_ID, IF_OOD = 0.9, 0.1
"""a and b of the MLLM."""
BUILDS = (0.0, 0.01, 0.05, 0.2, 0.5)
STREAMS = (0.0, 0.05)
"""Prevalences."""
PICTURES, JUDGED_FROM = 2000, 1000
"""Length of a stream, and from where on its verdicts count: the last half."""
FLAGGED, CAUGHT, STREAM_FLAGGED = (3.0, 7.5), 80.0, 8.0
"""Bars in %: known pictures called unknown and unknown ones caught by builds, known ones flagged in streams."""


class WorldInWords:
    """A world as the engine meets it: names, texts with features, pictures with numbers, and an MLLM."""

    def __init__(self, world: World, rows: Tensor, seed: int) -> None:
        """Show the pictures ``rows`` of a world, in this order; the MLLM's errors depend on the seed."""
        self.world, self.rows = world, rows
        self.classes = tuple(f"species {row}" for row in range(len(world.classes)))
        self.images = numbered_images(np.arange(len(rows)))
        self.features = world.features[rows]
        self.is_id: NDArray[np.bool_] = world.is_id[rows].numpy()
        nearest = (self.features @ world.classes.T).argmax(dim=1).tolist()
        self._shown = [
            Shows(self.classes[near] if known else None, "No." if said < 0 else f"a sight of kind {said}")
            for near, known, said in zip(nearest, self.is_id.tolist(), world.said[rows].tolist(), strict=True)
        ]
        said = verify_or_describe(
            lambda call: self._shown[_number(call)],
            yes=IF_ID,
            false_yes=IF_OOD,
            seed=seed,
            without_picture=self._look_alikes,
        )
        self.backend = ScriptedBackend.from_callable(said)

    @property
    def encoder(self) -> GivenEncoder:
        """Return a CLIP that knows the world's texts."""
        world = self.world
        parts = (
            ("species {}", world.classes),
            ("word {}", world.lexicon),
            ("a sight of kind {}", world.sentences),
            ("gadget {}", world.look_alikes),
        )
        table = {name.format(row): feature for name, rows in parts for row, feature in enumerate(rows)}

        def encode(texts: Sequence[str]) -> Tensor:
            found = [table[text.rstrip(".")] for text in texts]
            return torch.stack(found) if found else world.classes.new_empty(0, world.classes.shape[1])

        return GivenEncoder(encode, world.classes.shape[1], logit_scale=1.0 / world.temperature)

    def _look_alikes(self, call: Call) -> str:
        row = next(row for row, name in enumerate(self.classes) if f'"{name}"' in call.prompt)
        labels = self.world.similar.get(row, ())
        return "\n".join(f"{place}. gadget {label}" for place, label in enumerate(labels, 1)) or "none"


def _number(call: Call) -> int:
    if call.picture is None:
        raise ValueError("a question without a picture")
    with Image.open(io.BytesIO(call.picture.data)) as image:
        low, high, _ = np.asarray(image.convert("RGB"))[0, 0].tolist()
    return int(low + (high << 8))


def settings_for(shown: WorldInWords, folder: Path) -> Settings:
    """Return preset `engine` for features that are given; writes the world's words into the folder, as a lexicon."""
    lexicon = folder / "lexicon.txt"
    lexicon.write_text("".join(f"word {row}\tnoun\n" for row in range(len(shown.world.lexicon))))
    return load_settings(
        preset="engine",
        environment={},
        lexicon={"source": str(lexicon)},
        text={"class_template": "{}", "feature_cache": None},
        dispatch={"mode": "live", "runs": None},
        progress={"bar": "off"},
    )


def run(given: Given) -> Report:
    """Measure builds and streams on the 17 sets."""
    worlds = standard_worlds(given.found)
    report = Report(f"Bar 3: `ANTS.build` and `ANTS.stream` ({len(worlds)} sets, a {IF_ID:g}, b {IF_OOD:g})")
    with tempfile.TemporaryDirectory() as folder:
        _say_builds(report, worlds, given.seeds, Path(folder))
        _say_streams(report, worlds, given.seeds, Path(folder))
    return report


def _say_builds(report: Report, worlds: Sequence[World], seeds: int, folder: Path) -> None:
    lines = []
    for prevalence in BUILDS:
        found = np.array(
            [
                asyncio.run(_build(WorldInWords(world, drawn(world, seed, prevalence), seed), folder))
                for world in worlds
                for seed in range(seeds)
            ]
        )
        flagged, caught, area, questions, estimate = (
            float(column[~np.isnan(column)].mean()) if (~np.isnan(column)).any() else float("nan") for column in found.T
        )
        share = f"{100 * prevalence:g} %"
        lines.append([share, *map(_figure, (flagged, caught, area, estimate)), f"{questions:.0f}"])
        report.bar(f"build, {share}: known flagged", flagged, FLAGGED[1])
        report.bar(f"build, {share}: known flagged", flagged, FLAGGED[0], at_least=True)
        if prevalence:
            report.bar(f"build, {share}: unknown caught", caught, CAUGHT, at_least=True)
    heads = ["prevalence", "known flagged", "unknown caught", "AUROC", "estimated prevalence", "questions"]
    report.say("`ANTS.build`, then `score` of the same pictures; means in %\n\n" + markdown(heads, lines))


async def _build(shown: WorldInWords, folder: Path) -> list[float]:
    ants = await ANTS.build(
        shown.classes,
        shown.images,
        features=shown.features,
        encoder=shown.encoder,
        backend=shown.backend,
        config=settings_for(shown, folder),
    )
    scores = ants.score_features(shown.features)
    known, unknown = scores.id_score[shown.is_id], scores.id_score[~shown.is_id]
    judged = ants.report.judged or {}
    prevalence = judged.get("prevalence")
    area = auroc(known.astype(np.float64), unknown.astype(np.float64)) if len(unknown) else float("nan")
    pictures = sum(call.picture is not None for call in shown.backend.calls)
    shares = (*_shares(scores.is_outlier, shown.is_id), 100 * area)
    return [*shares, pictures, float("nan") if prevalence is None else 100 * prevalence["value"]]


def _say_streams(report: Report, worlds: Sequence[World], seeds: int, folder: Path) -> None:
    lines = []
    for prevalence in STREAMS:
        found = {
            world.name: np.mean(
                [asyncio.run(_stream(_repeated(world, seed, prevalence), folder)) for seed in range(seeds)], axis=0
            )
            for world in worlds
        }
        share = f"{100 * prevalence:g} %"
        for name, values in found.items():
            lines.append([share, name.replace("|", " → "), *map(_figure, values)])
        flagged, caught, area, questions = np.mean(list(found.values()), axis=0)
        lines.append([share, "**mean**", *map(_figure, (flagged, caught, area, questions))])
        report.bar(f"stream, {share}: known flagged in its last half", float(flagged), STREAM_FLAGGED)
    heads = ["prevalence", "set", "known flagged", "unknown caught", "AUROC", "questions"]
    report.say(f"`ANTS.stream`, last half of {PICTURES:,} pictures; means in %\n\n" + markdown(heads, lines))


def _repeated(world: World, seed: int, prevalence: float) -> WorldInWords:
    """Draw a stream; there are fewer pictures than that, so some come again, and the MLLM answers anew."""
    random = np.random.default_rng(seed)
    oods = round(PICTURES * prevalence)
    parts = [(0, world.ids, PICTURES - oods), (world.ids, len(world.features) - world.ids, oods)]
    rows = np.concatenate(
        [first + random.permutation(count)[np.arange(wanted) % count] for first, count, wanted in parts]
    )
    return WorldInWords(world, torch.from_numpy(random.permutation(rows)), seed)


async def _stream(shown: WorldInWords, folder: Path) -> list[float]:
    ants = await ANTS.build(
        shown.classes, encoder=shown.encoder, backend=shown.backend, config=settings_for(shown, folder)
    )
    scored = [scores async for scores in ants.stream(shown.images, features=shown.features)]
    outlier = np.concatenate([scores.is_outlier for scores in scored])[JUDGED_FROM:]
    score = np.concatenate([scores.id_score for scores in scored])[JUDGED_FROM:].astype(np.float64)
    known = shown.is_id[JUDGED_FROM:]
    area = auroc(score[known], score[~known]) if (~known).any() else float("nan")
    pictures = sum(call.picture is not None for call in shown.backend.calls)
    return [*_shares(outlier, known), 100 * area, pictures]


def _shares(outlier: NDArray[np.bool_], known: NDArray[np.bool_]) -> tuple[float, float]:
    """Return known pictures called unknown, and unknown ones caught (NaN without one), in %."""
    caught = 100 * float(outlier[~known].mean()) if (~known).any() else float("nan")
    return 100 * float(outlier[known].mean()), caught


def _figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"
