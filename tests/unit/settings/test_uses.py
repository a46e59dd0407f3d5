"""The table of what a changed setting does to a saved detector covers every setting that there is."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from ants_engine.errors import SettingError
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings
from ants_engine.settings.uses import USES, Use, changes, check_changes, flat, use_of, used_by_streams_only


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Name every field of a model and of the models in it."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_setting_is_in_the_table() -> None:
    assert set(fields(Settings)) == set(USES) - {"mllm.*"} == set(flat(Settings()))


def test_what_a_setting_needs_is_a_setting() -> None:
    for key, row in USES.items():
        if row.needs is not None:
            assert row.needs in USES, key
            assert row.needs != key
        else:
            assert not row.values, key


def test_a_backends_own_keys_are_used_by_streams() -> None:
    before = load_settings(mllm={"backend": "openai", "model": "a"})
    after = load_settings(before, mllm={"model": "b", "extra_body": {"top_k": 1}})
    assert changes(before, after) == ("mllm.model", "mllm.extra_body")
    assert use_of("mllm.extra_body").use is Use.STREAM


def test_the_same_value_again_is_no_change() -> None:
    before = load_settings(preset="reference", neglabel={"count": 7}, scoring={"weight": 0.5})
    again = load_settings(before, **before.model_dump())
    assert check_changes(before, again, untaught=False) == ()
    assert check_changes(before, load_settings(before, neglabel={"count": 7}), untaught=False) == ()


def test_all_that_is_refused_is_named_at_once() -> None:
    before = Settings()
    after = load_settings(before, neglabel={"count": 5}, eoe={"beta": 1.0}, mining={"min_waiting": 1, "eta": 0.1})
    with pytest.raises(SettingError) as caught:
        check_changes(before, after, untaught=True)
    said = str(caught.value).split("; ")
    assert [line.partition(" ")[0] for line in said] == ["neglabel.count", "mining.min_waiting", "eoe.beta"]
    assert "Build again" in said[0]
    assert "mining.rule is 'histogram'" in said[1]


def test_settings_of_another_detector_that_do_nothing_do_no_harm() -> None:
    """Where nobody asked for a change, only one that matters is refused."""
    before, after = Settings(), load_settings(mining={"min_waiting": 1, "eta": 0.1}, eoe={"beta": 1.0})
    assert check_changes(before, after, untaught=False, given=False) == ("mining.eta",)


def test_frozen_scoring_knows_what_it_does_not_use() -> None:
    given = ["mining.eta", "scoring.weight", "mllm.anything", "clip.device", "no.such"]
    assert used_by_streams_only(given) == ["mining.eta", "mllm.anything"]
