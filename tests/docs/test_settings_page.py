"""The configuration page shows every setting that there is, with what it means."""

import re
from importlib.metadata import entry_points
from typing import Any

import pytest
from pydantic import BaseModel

from ants_engine.settings.config import PRESETS, Settings
from tests.docs.blocks import ROOT
from tools.site.settings_tables import MARK, PRESET_MARK, preset_table, settings_tables


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    """The page's rows by setting; several backends have a setting of the same name."""
    found: dict[str, list[str]] = {}
    for line in settings_tables().splitlines():
        if row := re.match(r"\| `([a-z_.]+)` \| (.+) \|$", line):
            found.setdefault(row[1], []).append(row[2])
    return found


def leaves(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Name every value in dumped settings."""
    found = set()
    for key, value in values.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return found


def test_no_setting_is_missing(rows: dict[str, list[str]]) -> None:
    backends = [entry.load().Options for entry in entry_points(group="ants_engine.backends")]
    own = {
        f"mllm.{name}"
        for options in backends
        if options.__module__.startswith("ants_engine.")
        for name in options.model_fields
    }
    assert set(rows) == leaves(Settings().model_dump()) | own


def test_every_setting_says_what_it_is(rows: dict[str, list[str]]) -> None:
    for setting, shown in rows.items():
        for row in shown:
            default, values, what = re.split(r" (?<!\\)\| ", row, maxsplit=2)
            assert default and values, setting
            assert len(what) > 10, f"{setting} is not explained"


def test_what_it_says_is_what_the_code_has(rows: dict[str, list[str]]) -> None:
    assert rows["mining.eta"] == [
        "`0.5` | number, above 0.0, at most 1.0 | Share of the candidates, lowest first, that become negative images."
    ]
    assert rows["clip.precision"][0].startswith('`"auto"` | `auto`, `fp32`, `bf16`, `fp16` | ')
    assert rows["dispatch.budget.cost"][0].startswith("empty | number, above 0 or empty | Cost")


def test_a_setting_without_a_docstring_is_refused() -> None:
    from tools.site import settings_tables as page

    class Undocumented(BaseModel):
        mute: int = 3

    with pytest.raises((ValueError, KeyError)):
        page._table("x", Undocumented, "")


def test_the_preset_is_shown_whole() -> None:
    table = preset_table("reference")
    for stage, values in PRESETS["reference"].items():
        for key in values:
            assert f"| `{stage}.{key}` |" in table


def test_the_page_has_both_places() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page.count(MARK) == page.count(PRESET_MARK) == 1
