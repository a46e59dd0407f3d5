import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.conftest import Open


def cards(page: Any) -> list[Any]:
    return page.locator("#cards > li.card").all()  # type: ignore[no-any-return]


def scores(page: Any) -> list[float]:
    return [float(text) for text in page.locator("#cards .score").all_inner_texts()]


WATCH = """() => {
  const note = () => { window.begun = performance.now(); };
  for (const kind of ["input", "click", "keydown"]) addEventListener(kind, note, true);
}"""
DRAWN = "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now() - window.begun))))"


def timed(page: Any, work: Callable[[], None]) -> float:
    """Return the milliseconds from the event in the page until it has been drawn again, by the browser's clock."""
    work()
    return float(page.evaluate(DRAWN))


def test_five_thousand_pictures_are_filtered_sorted_searched_and_paged(
    open_page: Open, large_report: Path, record_property: Callable[[str, object], None]
) -> None:
    started = time.perf_counter()
    page = open_page(large_report)
    ready = time.perf_counter() - started
    page.evaluate(WATCH)
    assert page.locator("#found").inner_text().startswith("5,000 pictures")
    assert len(cards(page)) == 24
    took: dict[str, float] = {"load": 1000 * ready}
    where = page.locator('[data-pager="gallery"] .where')
    assert where.inner_text() == "page 1 of 209"
    first = cards(page)[0].inner_text()

    took["next page"] = timed(page, page.get_by_role("button", name="Next").first.click)
    assert where.inner_text() == "page 2 of 209"
    assert cards(page)[0].inner_text() != first

    took["verdict"] = timed(page, lambda: page.select_option('[name="verdict"]', "unknown"))
    assert set(page.locator("#cards .chip").all_inner_texts()) == {"unknown"}
    assert where.inner_text().startswith("page 1 of")

    took["sort"] = timed(page, lambda: page.select_option('[name="sort"]', "high"))
    ordered = scores(page)
    assert ordered == sorted(ordered, reverse=True)

    took["class"] = timed(page, lambda: page.select_option('[name="class"]', label="owl"))
    assert set(page.locator('#cards [data-f="predicted"]').all_inner_texts()) == {"owl"}

    page.select_option('[name="class"]', "")
    page.select_option('[name="verdict"]', "")
    took["right or wrong"] = timed(page, lambda: page.select_option('[name="outcome"]', "false alarm"))
    assert set(page.locator("#cards .outcome").all_inner_texts()) == {"false alarm"}
    assert set(page.locator("#cards .chip").all_inner_texts()) == {"unknown"}

    page.select_option('[name="outcome"]', "")
    took["search"] = timed(page, lambda: page.fill('[name="search"]', "kettle of kind 7"))
    assert cards(page)
    for text in page.locator("#cards .weighed").all_inner_texts():
        assert "kettle of kind 7" in text
    took["nothing found"] = timed(page, lambda: page.fill('[name="search"]', "no such thing"))
    assert page.locator("#cards").inner_text() == "No picture fits. Take a filter away."
    page.fill('[name="search"]', "")

    page.locator('[data-score="id_score"] .handle').focus()
    took["threshold"] = timed(page, lambda: page.keyboard.press("ArrowLeft"))
    size = large_report.stat().st_size / 1e6
    told = ", ".join(f"{name} {value:.0f}" for name, value in took.items())
    record_property("measured", f"gallery of 5,000 pictures, {size:.1f} MB; ms: {told}")


def test_what_is_shown_agrees_with_the_data(open_page: Open, small_report: Path) -> None:
    page = open_page(small_report)
    data = page.evaluate("antsReport.data()")
    page.select_option('[name="sort"]', "low")
    own = data["pictures"]
    row = min(range(len(own["names"])), key=lambda each: own["id_score"][each])
    first = cards(page)[0]
    assert first.locator(".score").inner_text() == f"{own['id_score'][row]:.3f}"
    assert first.locator(".chip").inner_text() == "unknown"
    assert first.locator('[data-f="predicted"]').inner_text() == data["classes"][own["predicted"][row]]
    heaviest = own["weighed"][row][0]
    told = first.locator(".weighed li").first.inner_text()
    assert data["texts"][heaviest["text"]]["text"] in told
    assert f"−{heaviest['amount']:.3f}" in told
    assert first.locator("img").evaluate("image => image.complete && image.naturalWidth > 0")


def test_a_sentence_leads_to_the_picture_that_it_was_said_of(open_page: Open, taught_report: Path) -> None:
    page = open_page(taught_report)
    button = page.locator("#sentences .from button").first
    wanted = button.inner_text().strip()
    button.click()
    assert wanted in cards(page)[0].inner_text()
    assert page.locator("#found").inner_text().startswith("1 picture")


def test_sentences_are_sorted_searched_and_flagged(open_page: Open, small_report: Path) -> None:
    page = open_page(small_report)
    data = page.evaluate("antsReport.data()")
    sentences = [text for text in data["texts"] if text["kind"] == "ens"]
    assert sentences
    suspects = [text["text"] for text in sentences if text["suspect"]]
    page.locator("#suspects").check()
    found = page.locator("#sentences tbody tr")
    assert found.count() == min(20, len(suspects))
    assert page.locator("#sentences .flag").count() == found.count()
    page.locator("#suspects").uncheck()
    page.locator("#search-sentences").fill(sentences[0]["text"])
    assert sentences[0]["text"] in found.first.inner_text()
    page.locator("#search-sentences").fill("")
    page.locator("#sort-sentences").select_option("text")
    shown = [one.inner_text() for one in page.locator("#sentences tbody th span").all()]
    assert shown == sorted(shown)
