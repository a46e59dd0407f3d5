import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import Open

DIST = '[data-score="id_score"]'


def counts(page: Any, score: str = "id_score") -> dict[str, tuple[int, int]]:
    """Read the table beside a figure: called known and called unknown, by group."""
    rows = page.locator(f'[data-score="{score}"] tr[data-group]').all()
    return {
        row.get_attribute("data-group"): (
            int(row.locator('[data-f="known"]').inner_text()),
            int(row.locator('[data-f="unknown"]').inner_text()),
        )
        for row in rows
    }


def threshold(page: Any) -> float:
    return float(page.locator(f"{DIST} .handle").get_attribute("aria-valuenow"))


def expected(page: Any, score: str = "id_score") -> dict[str, tuple[int, int]]:
    """Count again, from the data in the page, at the threshold that it has now."""
    data = json.loads(page.locator("#report-data").text_content())
    column = np.array(data["pictures"][score], dtype=np.float32)
    line = np.float32(page.evaluate("antsReport.thresholds()")[score])
    sets = np.array(data["pictures"]["sets"])
    return {
        name: (int((column[sets == name] >= line).sum()), int((column[sets == name] < line).sum()))
        for name in sorted(set(sets))
    }


def test_dragging_the_line_changes_counts_rates_and_gallery(open_page: Open, small_report: Path) -> None:
    page = open_page(small_report)
    before, line = counts(page), threshold(page)
    assert before == expected(page)
    handle = page.locator(f"{DIST} .handle")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 60, steps=8)
    page.mouse.up()
    assert threshold(page) > line
    after = counts(page)
    assert after == expected(page)
    assert all(after[name][1] >= before[name][1] for name in after)
    assert after != before
    foreign = sum(one for _, one in after.values())
    page.wait_for_function(
        "text => document.querySelector('#found').textContent.includes(text)", arg=f"{foreign} called unknown"
    )
    caught = after["near"][1] + after["far"][1]
    total = caught + after["near"][0] + after["far"][0]
    alarms = after["id"][1] / sum(after["id"])
    assert page.locator(f'{DIST} [data-f="tpr"]').inner_text() == f"{100 * caught / total:.1f} %"
    assert page.locator(f'{DIST} [data-f="fpr"]').inner_text() == f"{100 * alarms:.1f} %"
    assert page.locator(f'{DIST} [data-f="tpr-id"]').inner_text() == f"{100 * (1 - alarms):.1f} %"
    page.locator(f"{DIST} .reset").click()
    assert counts(page) == before


def test_the_keyboard_moves_every_line(open_page: Open, small_report: Path) -> None:
    page = open_page(small_report)
    for score in ("id_score", "ens_score", "vsnl_score", "neglabel_score"):
        handle = page.locator(f'[data-score="{score}"] .handle')
        assert handle.get_attribute("role") == "slider"
        handle.focus()
        start = float(handle.get_attribute("aria-valuenow"))
        page.keyboard.press("PageDown")
        lower = float(handle.get_attribute("aria-valuenow"))
        page.keyboard.press("ArrowRight")
        assert lower < float(handle.get_attribute("aria-valuenow")) < start
        assert counts(page, score) == expected(page, score)
        page.keyboard.press("Home")
        assert sum(foreign for _, foreign in counts(page, score).values()) == 0
        page.keyboard.press("End")
        assert sum(known for known, _ in counts(page, score).values()) == 0
        assert "called unknown" in handle.get_attribute("aria-valuetext")


def test_a_score_at_the_threshold_is_known(open_page: Open, small_report: Path) -> None:
    page = open_page(small_report)
    told = page.evaluate(
        """() => {
          const line = Math.fround(antsReport.thresholds().id_score);
          const column = Float32Array.from(antsReport.data().pictures.id_score);
          return [column.filter((value) => value < line).length, column.length];
        }"""
    )
    shown = counts(page)
    assert [sum(foreign for _, foreign in shown.values()), sum(map(sum, shown.values()))] == told


@pytest.mark.parametrize("width", [1280, 375])
def test_the_point_on_the_curve_follows(open_page: Open, small_report: Path, width: int) -> None:
    page = open_page(small_report, width)
    dot = page.locator('[data-figure="roc"] .dot')
    before = dot.bounding_box()
    page.locator(f"{DIST} .handle").focus()
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    after = dot.bounding_box()
    assert after["x"] >= before["x"]
    assert after["y"] <= before["y"]
    assert after != before
