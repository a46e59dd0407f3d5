from typing import Any

import pytest

from ants_engine.errors import UsageError
from ants_engine.evaluation.method import EvaluationPlan, MethodFacts


@pytest.mark.parametrize(
    ("asked", "from_store", "failed", "degraded"),
    [
        (0, 0, 0, False),
        (10, 0, 0, False),
        (10, 0, 2, False),  # 80 % are left, which is enough
        (10, 0, 3, True),
        (5, 5, 3, True),
        (5, 15, 3, False),
        (2, 0, 1, False),  # one failure among several never counts
        (1, 0, 1, True),
        (0, 0, 4, True),  # pictures that could not be shown were never asked about
    ],
)
def test_when_failed_requests_spoil_the_numbers(asked: int, from_store: int, failed: int, degraded: bool) -> None:
    assert MethodFacts(asked=asked, from_store=from_store, failed=failed).degraded(0.8) is degraded


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prevalences": (0.0,)}, "above 0 and below 1, not 0.0"),
        ({"prevalences": (1.0,)}, "above 0 and below 1"),
        ({"prevalences": (float("nan"),)}, "above 0 and below 1, not nan"),
        ({"prevalences": ()}, "at least one prevalence"),
        ({"prevalences": (0.5, 0.5)}, "each once"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (1, 1)}, "each once"),
        ({"conventions": ()}, "at least one convention"),
        ({"share": 0.0}, "share"),
        ({"share": 1.5}, "share"),
        ({"batch_size": 0}, "batch size"),
    ],
)
def test_plans_that_cannot_be_followed(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EvaluationPlan(**changed)


def test_the_default_is_one_pass_over_everything() -> None:
    plan = EvaluationPlan()
    assert (plan.seeds, plan.prevalences, plan.share, plan.conventions) == ((0,), (None,), 1.0, ("openood",))
