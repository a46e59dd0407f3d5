import pytest
import torch

from ants_engine.baselines import registry
from ants_engine.errors import UsageError
from tests.unit.baselines.spaces import random_space
from tests.unit.detector.detectors import unit_rows

EXPECTED = ("mcm", "max-logit", "energy", "neglabel", "neglabel-1", "eoe", "adaneg")


def test_every_baseline_is_made_by_its_name() -> None:
    assert registry.names() == EXPECTED
    for name in EXPECTED:
        baseline = registry.create(name, random_space(3, 5))
        assert baseline.name == name
        predicted, score = baseline.score(unit_rows(4, 1))
        assert (predicted.shape, predicted.dtype, score.shape, score.dtype) == ((4,), torch.int64, (4,), torch.float32)
        baseline.reset()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("neglable", {}, r"no baseline 'neglable'; did you mean neglabel\?.*There are: mcm, max-logit, energy"),
        ("zzz", {}, r"no baseline 'zzz'\. There are"),
        ("eoe", {"bta": 1}, r"baseline eoe: no option 'bta'; did you mean beta\? It has: beta"),
        ("mcm", {"beta": 1}, r"baseline mcm: no option 'beta'\. It has: none"),
    ],
)
def test_unknown_names_are_told_the_nearest(name: str, options: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        registry.create(name, random_space(3, 5), **options)


def test_options_reach_the_method() -> None:
    space, features = random_space(3, 5), unit_rows(4, 12)
    plain, heavy = (registry.create("eoe", space, beta=beta).score(features)[1] for beta in (0.0, 1.0))
    assert (plain > heavy).all()
