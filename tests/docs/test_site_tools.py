"""What checks and makes the site: broken links are found, links out of docs/ become pages, formulas become MathML."""

from pathlib import Path

import pytest

from tools.site.check import check, main
from tools.site.mathml import on_page_content


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two pages that is in order."""
    (tmp_path / "more").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="top">A</h1><a href="more/page.html#part">b</a><a href="#top">c</a>')
    (tmp_path / "more" / "page.html").write_text('<h2 id="part">B</h2><a href="../index.html">back</a>')
    return tmp_path


def test_a_site_in_order(site: Path) -> None:
    found = check(site)
    assert (found.pages, found.links, found.broken, found.elsewhere) == (2, 3, [], set())


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="gone.html">x</a>', "gone.html: no such file"),
        ('<a href="more/page.html#other">x</a>', "more/page.html#other: no such anchor"),
        ('<a href="#other">x</a>', "#other: no such anchor"),
        ('<a href="/index.html">x</a>', "leads out of the site"),
        ('<a href="../outside.html">x</a>', "no such file"),
        ('<img src="gone.png">', "gone.png: no such file"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<script src="//cdn.example/x.js"></script>', "loads //cdn.example/x.js"),
        ('<link rel="stylesheet" href="https://fonts.example/css">', "loads https://fonts.example/css"),
        ('<p style="background: url(https://elsewhere.example/a.png)">', "loads https://elsewhere.example/a.png"),
    ],
)
def test_what_is_broken_is_found(site: Path, html: str, problem: str) -> None:
    (site / "index.html").write_text(html)
    (found,) = {line for line in check(site).broken if problem in line}
    assert found.startswith("index.html")


def test_a_style_sheet_that_loads_from_elsewhere_is_found(site: Path) -> None:
    (site / "a.css").write_text("@import 'https://fonts.example/f.css'; b { background: url(local.png) }")
    assert check(site).broken == ["a.css loads https://fonts.example/f.css"]


def test_other_sites_are_listed(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "index.html").write_text('<a href="https://arxiv.org/abs/2509.03951">paper</a>')
    monkeypatch.setattr("sys.argv", ["check", str(site)])
    assert main() == 0
    assert "not followed: https://arxiv.org/abs/2509.03951" in capsys.readouterr().out


def test_no_site_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["check", str(tmp_path)])
    assert main() == 2


def test_formulas_become_mathml() -> None:
    page = on_page_content(
        '<p>so <span class="arithmatex">\\(a &lt; b\\)</span></p><div class="arithmatex">\\[\\frac{a}{b}\\]</div>'
    )
    assert page.count("<math") == 2
    assert "<mfrac>" in page
    assert "arithmatex" not in page
    assert "\\frac" not in page
