from pathlib import Path

from tests.browser.conftest import Open


def test_a_page_takes_over_its_next_state_and_keeps_what_a_person_has_set(
    open_page: Open, taught_report: Path, small_report: Path
) -> None:
    page = open_page(taught_report)
    assert page.locator("#found").inner_text().startswith("60 pictures")
    handle = page.locator('[data-score="id_score"] .handle')
    handle.focus()
    page.keyboard.press("PageDown")
    line = handle.get_attribute("aria-valuenow")
    page.select_option('[name="verdict"]', "foreign")
    page.fill("#search-sentences", "kettle")
    page.evaluate("html => antsReport.show(html)", small_report.read_text(encoding="utf-8"))
    assert page.evaluate("antsReport.data().title") == "Small world"
    assert handle.get_attribute("aria-valuenow") == line
    assert set(page.locator("#cards .chip").all_inner_texts()) == {"foreign"}
    assert page.input_value("#search-sentences") == "kettle"
    shown = page.locator('[data-score="id_score"] tr[data-group]').all_inner_texts()
    assert sum(int(number) for row in shown for number in row.split("\t")[1:3]) == 240
    page.get_by_role("button", name="Next").first.click()
    assert page.locator('[data-pager="gallery"] .where').inner_text().startswith("page 2 of")
