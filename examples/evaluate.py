"""Compare methods on a benchmark from Python. The command line does the same: ants eval examples/emoji_world.

python examples/evaluate.py                                        # the emoji world, minutes
python examples/evaluate.py benchmark/ examples/emoji_world        # your folders id/, near/ and far/, and settings
"""

import asyncio
import sys
from pathlib import Path

from ants_engine import load_settings
from ants_engine.datasets.source import read_benchmark
from ants_engine.evaluation.evaluation import evaluate
from ants_engine.evaluation.method import EvaluationPlan


async def main(source: str = "examples/emoji_world", config: str | None = None) -> None:
    """Measure four methods, in both conventions of FPR95."""
    # a folder with OpenOOD's lists, or with id/, near/ and far/, or .npz files of features
    benchmark = read_benchmark(Path(source))
    settings = load_settings(config or benchmark.settings_file)
    plan = EvaluationPlan(seeds=(0,), batch_size=64, conventions=("openood", "id_positive"))
    found = await evaluate(benchmark, settings, plan, ["mcm", "neglabel", "ants", "ants-union"])
    for row in found.rows:
        if row.values is not None:
            fpr95, auroc = row.values["FPR@95"], row.values["AUROC"]
            print(f"{row.dataset:8} {row.method:11} {row.convention:12} FPR95 {fpr95}  AUROC {auroc}")
    for note in found.notes():
        print("note:", note)


asyncio.run(main(*sys.argv[1:3]))
