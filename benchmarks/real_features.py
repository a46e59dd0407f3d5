"""Every method on genuine CLIP ViT-B/32 features: CIFAR-10 as ID, Flickr8k and Food-101 far, half of it near.

``python -m benchmarks.real_features`` prints the tables of ``docs/real_features.md``. The MLLM is scripted from the
data (see `benchmarks.clip_features`): what it says is real, how fast it is does not matter here.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ants_engine import ANTS, Settings, load_settings
from ants_engine.baselines import registry
from ants_engine.baselines.baseline import TextSpace
from ants_engine.datasets.benchmark import Benchmark, BenchmarkSet, Group
from ants_engine.evaluation.method import EvaluationPlan, EvaluationStream, Method, MethodResult
from ants_engine.evaluation.methods import AntsMethod, AntsRun, BaselineMethod
from ants_engine.evaluation.runner import run_passes
from ants_engine.evaluation.summary import SummaryRow, summarise
from ants_engine.method.metrics import COLUMNS, FprConvention
from ants_engine.method.neglabel import mine_negative_labels
from benchmarks.clip_features import (
    CLASSES,
    LOGIT_SCALE,
    Pictures,
    RealFeatures,
    class_features,
    load,
    numbered_images,
    outlier_labels,
    scripted_mllm,
    text_encoder,
)

NEGATIVES = 1000
NEAR_ID = ("airplane", "bird", "cat", "frog", "truck")
"""Five of the classes, each with a look-alike among the other five: ship, deer, dog, horse, automobile."""
PREVALENCES: tuple[float | None, ...] = (None, 0.5, 0.2, 0.05, 0.01)


Mined = dict[tuple[str, float | None], list[tuple[int, float]]]
"""OOD set and prevalence → per stream, how many pictures were mined, and the share of them that is ID."""


class Renamed:
    """A method under another name, so that two settings of it can stand in one table."""

    def __init__(self, method: Method, name: str, ants: ANTS, mined: Mined) -> None:
        self._method = method
        self._ants = ants
        self._mined = mined
        self.name = name

    async def run(self, stream: EvaluationStream) -> MethodResult:
        """Score a stream, and note which of the pictures that ANTS took for negative are in truth ID."""
        result = await self._method.run(stream)
        members = self._ants.state.members
        if members and self.name == "ants (paper)":
            truly_id = float((stream.labels[list(members)] >= 0).mean())
            self._mined.setdefault((stream.set_name, stream.prevalence), []).append((len(members), truly_id))
        return result


def settings_for(preset: str, batch_size: int) -> Settings:
    """Return a preset at the scale of these sets: the public code waits for 200 candidates in batches of 256."""
    smaller: dict[str, Any] = {
        "mining": {"min_waiting": 50},
        "vsnl": {"start_batch": 2, "interval": 2},
        "scoring": {"in_score": "ada"},
    }
    return load_settings(
        preset=preset,
        environment={},
        text={"class_template": "{}"},
        dispatch={"mode": "live"},
        stream={"batch_size": batch_size},
        progress={"bar": "off"},
        **(smaller if preset == "reference" else {}),
    )


def methods_for(
    data: RealFeatures, classes: Sequence[str], pictures: Sequence[Pictures], batch: int, mined: Mined
) -> list[Method]:
    """Return all methods on one text space."""
    features = class_features(data, classes)
    others = [name for name in data.names if name not in {one.casefold() for one in classes}]
    bank = torch.from_numpy(np.stack([data.texts[name] for name in others]))
    rows = mine_negative_labels(bank, features, NEGATIVES)
    methods: list[Method] = []
    for preset in ("paper", "reference"):
        ants = ANTS.from_features(
            classes,
            features,
            negative_features=bank[rows],
            negative_texts=[others[row] for row in rows.tolist()],
            text_encoder=text_encoder(data),
            logit_scale=LOGIT_SCALE,
            backend=scripted_mllm(data, classes, pictures),
            config=settings_for(preset, batch),
        )
        if preset == "paper":
            outliers = torch.from_numpy(text_encoder(data)(outlier_labels(data, classes)))
            space = TextSpace.of(ants.detector, outliers)
            methods += [BaselineMethod(registry.create(name, space)) for name in registry.names()]
        run = AntsRun(ants)
        names = {"ants": preset, "ants-ens": f"{preset}, S_ens", "ants-vsnl": f"{preset}, S_vsnl"}
        names["ants-union"] = f"{preset}, S_union"
        methods += [Renamed(AntsMethod(run, name), f"ants ({shown})", ants, mined) for name, shown in names.items()]
    return methods


def benchmark(name: str, classes: Sequence[str], ids: Pictures, oods: Sequence[tuple[Pictures, Group]]) -> Benchmark:
    """Put pictures into the form that the runner takes."""
    return Benchmark(
        name=name,
        kind="features",
        classes=tuple(classes),
        id_set=_set("id", None, ids),
        ood_sets=tuple(_set(one.name, group, one) for one, group in oods),
    )


def near_split(data: RealFeatures) -> tuple[Pictures, Pictures]:
    """Cut CIFAR-10 into the pictures of `NEAR_ID`, labelled anew, and the others."""
    kept = {CLASSES.index(name): place for place, name in enumerate(NEAR_ID)}
    is_id = np.isin(data.cifar.labels, list(kept))
    own = np.array([kept[label] for label in data.cifar.labels[is_id].tolist()])
    ids = Pictures("cifar5", data.cifar.features[is_id], own, data.cifar.numbers[is_id])
    away = ~is_id
    return ids, Pictures("cifar5-other", data.cifar.features[away], np.full(away.sum(), -1), data.cifar.numbers[away])


async def measure_all(data: RealFeatures, plan: EvaluationPlan, mined: Mined) -> list[SummaryRow]:
    """Run every method on every set, seed and prevalence."""
    near_id, near_ood = near_split(data)
    far = benchmark("far", CLASSES, data.cifar, [(data.flickr, "far"), (data.food, "far")])
    near = benchmark("near", NEAR_ID, near_id, [(near_ood, "near")])
    rows: list[SummaryRow] = []
    for one, pictures in ((far, (data.cifar, data.flickr, data.food)), (near, (near_id, near_ood))):
        results = await run_passes(one, methods_for(data, one.classes, pictures, plan.batch_size, mined), plan)
        failed = [result.error for result in results if result.error]
        if failed:
            raise RuntimeError(f"{len(failed)} passes failed, first: {failed[0]}")
        rows += [row for row in summarise(results, plan.conventions) if not row.is_mean]
    return rows


def print_tables(rows: Sequence[SummaryRow], plan: EvaluationPlan) -> None:
    """Print one Markdown table per prevalence and convention."""
    sets = list(dict.fromkeys(row.dataset for row in rows))
    for prevalence in plan.prevalences:
        for convention in plan.conventions:
            mine = [row for row in rows if row.prevalence == prevalence and row.convention == convention]
            counts = {row.dataset: f"{row.ids} + {row.oods}" for row in mine}
            share = "all pictures" if prevalence is None else f"prevalence {prevalence:g}"
            print(f"\n### {share}, FPR95 as `{convention}`\n")
            heads = [f"{name} ({counts[name]}) {column}" for name in sets for column in COLUMNS[:2]]
            print("| method | " + " | ".join(heads) + " |")
            print("|---" * (len(heads) + 1) + "|")
            for method in dict.fromkeys(row.method for row in mine):
                cells = []
                for name in sets:
                    row = next(row for row in mine if row.method == method and row.dataset == name)
                    cells += [str(row.values[column]) if row.values else "–" for column in COLUMNS[:2]]
                print(f"| {method} | " + " | ".join(cells) + " |")


def _set(name: str, group: Group | None, pictures: Pictures) -> BenchmarkSet:
    return BenchmarkSet(
        name=name,
        group=group,
        labels=pictures.labels.astype(np.int64),
        images=tuple(numbered_images(pictures.numbers)),
        features=pictures.features,
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="streams per set and prevalence")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--convention", choices=("openood", "id_positive"), default="openood")
    given = parser.parse_args()
    convention: FprConvention = given.convention
    plan = EvaluationPlan(
        seeds=tuple(range(given.seeds)),
        prevalences=PREVALENCES,
        batch_size=given.batch_size,
        conventions=(convention,),
    )
    try:
        data = load()
    except FileNotFoundError as error:
        print(f"the features are not there: {error.filename}", file=sys.stderr)
        return 2
    mined: Mined = {}
    rows = asyncio.run(measure_all(data, plan, mined))
    print(f"{given.seeds} seeds, batch size {given.batch_size}, mean ± standard deviation in %; pictures as ID + OOD")
    print_tables(rows, plan)
    print("\n### Mined negative images that are in truth ID (preset `paper`, mean over the seeds)\n")
    print("| OOD set | prevalence | mined | of them ID |\n|---|---|---|---|")
    for (name, prevalence), found in mined.items():
        share = "all pictures" if prevalence is None else f"{prevalence:g}"
        counts, truly_id = zip(*found, strict=True)
        print(f"| {name} | {share} | {np.mean(counts):.0f} | {100 * np.mean(truly_id):.0f} % |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
