from pathlib import Path

import pytest

from tests.browser.conftest import Open
from tests.support.report_world import HOSTILE

BROKEN = """new Promise((done) => {
  const image = new Image();
  image.addEventListener("error", done);
  image.src = "data:,";
})"""
"""Ends when the page has been told of a picture that cannot be shown: of those before it, it has been told too."""


def test_markup_in_class_names_and_answers_does_nothing(open_page: Open, hostile_report: Path) -> None:
    page = open_page(hostile_report)
    page.evaluate(BROKEN)
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.scripts.length") == 3
    assert page.locator("img[src='x']").count() == 0
    assert page.title() == HOSTILE[0]
    shown = page.locator("main").inner_text()
    for text in HOSTILE[:4]:
        assert text in shown, "it is shown as what it is"
    assert "{{ 7 * 7 }} {% raw %}" in shown
    for name in ("verdict", "sort"):
        page.select_option(f'[name="{name}"]', index=1)
    page.get_by_role("button", name="Next").first.click()
    page.locator('[data-map="0"] .canvas').focus()
    for _ in range(120):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("window.pwned") is None


def test_the_policy_stops_what_would_run_or_call_home(browser: object, hostile_report: Path) -> None:
    context = browser.new_context()  # type: ignore[attr-defined]
    page = context.new_page()
    page.goto(hostile_report.as_uri())
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.pwned = 2";
          document.body.append(script);
          const image = document.createElement("img");
          image.setAttribute("onerror", "window.pwned = 3");
          image.src = "data:,";
          document.body.append(image);
        }"""
    )
    page.evaluate(BROKEN)
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'went', () => 'stopped')") == "stopped"
    context.close()


@pytest.mark.parametrize("name", ["pictures", "texts"])
def test_no_cell_of_a_csv_is_a_formula(open_page: Open, hostile_report: Path, name: str) -> None:
    page = open_page(hostile_report)
    with page.expect_download() as waiting:
        page.locator(f'[data-download="{name}"]').click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert "HYPERLINK" in text
    for line in text.splitlines():
        for cell in line.split(","):
            assert not cell.strip('"').startswith("="), line
