import pytest
from pydantic import ValidationError

from ants_engine.settings.config import EoeSettings


def test_what_is_asked_for_follows_the_task() -> None:
    near, far = EoeSettings(), EoeSettings(task="far")
    assert (near.template_ref, near.labels_per_question, near.token_limit) == ("eoe_near/v1", 3, 136)
    assert (far.template_ref, far.labels_per_question, far.token_limit) == ("eoe_far/v1", 500, 6100)
    own = EoeSettings(template="mine/v2", count=7, max_new_tokens=40)
    assert (own.template_ref, own.labels_per_question, own.token_limit) == ("mine/v2", 7, 40)


@pytest.mark.parametrize("wrong", [{"task": "both"}, {"count": 0}, {"beta": -1}, {"beta": "inf"}, {"bta": 1}])
def test_what_does_not_fit_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EoeSettings.model_validate(wrong)
