import re

from ants_engine.report.figures import COLOURS, LAYER, Figure, drawing


def test_a_figure_takes_its_colours_from_the_page_and_needs_no_inline_style() -> None:
    found: dict[str, Figure] = {}
    with drawing(found, "one") as axes:
        axes.plot([0, 1], [0, 2], color=COLOURS["known"])
        axes.scatter([0.5], [1], color=COLOURS["unknown"], gid=f"{LAYER}dots")
        axes.set_xlim(0, 1)
        axes.set_xlabel("<b> & $x$")
    figure = found["one"]
    assert "var(--known)" in figure.svg
    assert "var(--unknown)" in figure.svg
    assert not re.search(r"#0000[0-9a-f]{2}", figure.svg), "every colour is the page's"
    for word in ("style=", "<style", "<metadata", "<!DOCTYPE", "<script", "xlink"):
        assert word not in figure.svg
    assert "&lt;b&gt; &amp; $x$" in figure.svg
    assert 'data-layer="dots"' in figure.svg
    assert figure.x == (0.0, 1.0)
    left, top, right, bottom = figure.box
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1


def test_ids_of_two_figures_differ_and_everything_referred_to_is_there() -> None:
    found: dict[str, Figure] = {}
    for name in ("one", "two"):
        with drawing(found, name) as axes:
            axes.scatter([0, 1], [0, 1], color=COLOURS["known"])
    made = [figure.svg for figure in found.values()]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in made]
    assert not ids[0] & ids[1]
    for svg, own in zip(made, ids, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg)) == own


def test_the_same_is_drawn_twice() -> None:
    def draw() -> str:
        found: dict[str, Figure] = {}
        with drawing(found, "one") as axes:
            axes.stairs([1, 2, 3], color=COLOURS["ink"])
        return found["one"].svg

    assert draw() == draw()
