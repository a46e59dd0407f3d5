import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ants_engine.report.document import Document
from tests.browser.conftest import Open


def taken(page: Any, name: str) -> str:
    with page.expect_download() as waiting:
        page.locator(f'[data-download="{name}"]').click()
    ending = "json" if name == "json" else "csv"
    assert waiting.value.suggested_filename == ("report.json" if name == "json" else f"{name}.{ending}")
    return Path(waiting.value.path()).read_text(encoding="utf-8")


@pytest.fixture
def page(open_page: Open, small_report: Path) -> Any:
    return open_page(small_report)


def test_the_json_is_the_whole_document(page: Any) -> None:
    document = Document.model_validate_json(taken(page, "json"))
    assert document.pictures is not None
    assert len(document.pictures) == 240
    assert document.comparison is not None
    assert len(document.batches) == 6
    assert document.requests is not None


@pytest.mark.parametrize("name", ["pictures", "texts", "methods", "roc", "map", "batches", "requests"])
def test_every_table_can_be_had(page: Any, name: str) -> None:
    rows = list(csv.reader(taken(page, name).splitlines()))
    assert len(rows) > 2
    assert {len(row) for row in rows} == {len(rows[0])}


def test_a_csv_says_what_the_page_says(page: Any) -> None:
    page.locator('[data-score="id_score"] .handle').focus()
    page.keyboard.press("PageUp")
    rows = list(csv.DictReader(taken(page, "pictures").splitlines()))
    data = json.loads(page.evaluate("JSON.stringify(antsReport.data().pictures)"))
    assert [float(row["id_score"]) for row in rows] == pytest.approx(data["id_score"])
    foreign = sum(row["verdict"] == "unknown" for row in rows)
    shown = page.locator('[data-score="id_score"] [data-f="unknown"]').all_inner_texts()
    assert foreign == sum(map(int, shown))
