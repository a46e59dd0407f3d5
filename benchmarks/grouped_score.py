"""One grouped score of one batch, features in, score out: beside the bare matrix product and the literal way."""

import torch
from torch import Tensor

from ants_engine import ANTS
from ants_engine.method.masses import IdMass
from benchmarks import literal_scoring
from benchmarks.random_world import TEMPERATURE, unit_rows
from benchmarks.table import Row
from benchmarks.timing import medians

PICTURES, CLASSES, NEGATIVES, DIM, GROUPS = 256, 1000, 10_000, 512, 100
ROUNDS = 21


def run() -> list[Row]:
    """Measure the whole score, and the part of it that comes after the product."""
    features, classes = unit_rows(PICTURES, DIM, 1), unit_rows(CLASSES, DIM, 2)
    negatives = unit_rows(NEGATIVES, DIM, 3)
    both = torch.cat([classes, negatives])
    detector = ANTS.from_features(
        [f"class{number}" for number in range(CLASSES)],
        classes,
        negative_features=negatives,
        preset="reference",
        scoring={"temperature": TEMPERATURE, "group_length": NEGATIVES // GROUPS},
    ).detector
    product = torch.empty(PICTURES, CLASSES + NEGATIVES)

    def ours() -> Tensor:
        return detector.look(features).initial

    def literal() -> Tensor:
        return literal_scoring.grouped(literal_scoring.logits(features, both, TEMPERATURE), CLASSES, GROUPS)

    def bare() -> Tensor:
        return torch.matmul(features, both.T, out=product)

    torch.testing.assert_close(ours(), literal(), atol=1e-5, rtol=0)
    took = medians({"ours": ours, "literal": literal, "product": bare}, ROUNDS, warm=3)
    ours_s, literal_s, product_s = took["ours"], took["literal"], took["product"]
    what = f"grouped score, {PICTURES} × ({CLASSES:,} + {NEGATIVES:,}), D = {DIM}"
    after = after_product(both)
    return [
        Row(
            what,
            "ms",
            ours_s * 1e3,
            baseline=literal_s * 1e3,
            limit=product_s * 1e3,
            at_least=4.0,
            at_most=1.25,
        ),
        Row("… the part after the product", "ms", after[0] * 1e3, baseline=after[1] * 1e3, at_least=40.0),
    ]


def after_product(both: Tensor) -> tuple[float, float]:
    """Return the seconds that our part and the literal one take when the products are there already.

    Both are timed and not subtracted: a small difference of two large times says little. Ours is the same passes over
    the same scratch, without the product that fills it.
    """
    features = unit_rows(PICTURES, DIM, 1)
    logits = literal_scoring.logits(features, both, TEMPERATURE)
    ids = logits[:, :CLASSES].contiguous()
    piece = torch.empty(PICTURES * 2000).fill_(-60.0)

    def ours() -> Tensor:
        id_mass = IdMass.of(ids)
        masses = []
        for _ in range(NEGATIVES // 2000):
            cells = piece.view(PICTURES, 2000)
            cells.sub_(id_mass.top).exp_()
            masses.append(cells.view(PICTURES, 20, 100).sum(dim=2))
        return id_mass.score(torch.cat(masses, dim=1))

    def literal() -> Tensor:
        return literal_scoring.grouped(logits, CLASSES, GROUPS)

    took = medians({"ours": ours, "literal": literal}, ROUNDS, warm=3)
    return took["ours"], took["literal"]
