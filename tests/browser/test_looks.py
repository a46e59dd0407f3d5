from pathlib import Path

import pytest

from tests.browser.conftest import Open
from tests.support.browser import serious


@pytest.mark.parametrize(
    ("report", "scheme"),
    [("small_report", "light"), ("small_report", "dark"), ("hostile_report", "light"), ("bare_report", "dark")],
)
def test_axe_finds_nothing_serious(open_page: Open, request: pytest.FixtureRequest, report: str, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is missing")
    # axe's script is put in from outside, which the page's policy rightly forbids
    page = open_page(request.getfixturevalue(report), color_scheme=scheme, bypass_csp=True)
    assert serious(page) == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (375, "light"), (375, "dark")])
def test_nothing_sticks_out_and_a_picture_of_it_is_kept(
    open_page: Open, small_report: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    page = open_page(small_report, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    narrow = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((one) => {
          const box = one.getBoundingClientRect();
          return box.width > 0 && box.right > innerWidth + 1 && !one.closest(".scroll, .legend");
        }).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert narrow == []
    shot = tmp_path / f"report-{width}-{scheme}.png"
    page.screenshot(path=shot, full_page=True)
    assert shot.stat().st_size > 50_000


def test_without_its_script_the_page_is_read_all_the_same(open_page: Open, small_report: Path) -> None:
    page = open_page(small_report, java_script_enabled=False)
    assert page.locator("#cards > li.card").count() == 24
    assert page.locator("#sentences tbody tr").count() > 0
    assert page.locator("figure .canvas svg").count() >= 8
    assert page.locator("tr[data-group]").count() == 12
    assert not page.locator("#filters").is_visible()
    assert not page.locator(".handle").first.is_visible()
    assert page.locator(".missing", has_text="the page's script, which is off").is_visible()


def test_all_of_it_is_reached_by_the_tab_key(open_page: Open, small_report: Path) -> None:
    page = open_page(small_report)
    seen = set()
    for _ in range(140):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                """() => {
                  const one = document.activeElement;
                  const { download, toggle } = one.dataset;
                  return one.name || one.id || download || toggle || one.className || one.tagName;
                }"""
            )
        )
    wanted = {
        "skip",
        "handle",
        "verdict",
        "search",
        "suspects",
        "sort-sentences",
        "canvas",
        "classes",
        "json",
        "pictures",
    }
    assert wanted <= seen, wanted - seen


def test_the_map_is_pointed_at_stepped_through_and_thinned_out(open_page: Open, small_report: Path) -> None:
    page = open_page(small_report)
    canvas = page.locator('[data-map="0"] .canvas')
    canvas.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator('[data-map="0"] .picked').inner_text()
    assert "id_score" in first
    page.keyboard.press("ArrowRight")
    assert page.locator('[data-map="0"] .picked').inner_text() != first
    for box in page.locator('[data-map="0"] [data-toggle^="pictures"]').all():
        box.uncheck()
    assert not canvas.locator('[data-layer="pictures-0"]').is_visible()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert "ID class" in page.locator('[data-map="0"] .picked').inner_text()
    ring = page.locator('[data-map="0"] .ring').bounding_box()
    page.mouse.move(5, 5)
    page.mouse.move(ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2)
    assert "ID class" in page.locator('[data-map="0"] .picked').inner_text()


def test_a_section_without_data_says_what_would_give_it(open_page: Open, bare_report: Path) -> None:
    page = open_page(bare_report)
    for section, said in (
        ("scores", "ants report DETECTOR my_pictures/"),
        ("methods", "--labels"),
        ("stream", "ants stream DETECTOR"),
        ("requests", "ants report DETECTOR --run RUN"),
    ):
        assert said in page.locator(f"#{section} .missing").first.inner_text()
