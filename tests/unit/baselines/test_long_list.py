import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.baselines.eoe_labels import CHARACTERS, ITEMS, LONGEST, pieces
from ants_engine.method.labels import parse_labels

ADJECTIVES = (
    "red blue green tall old wooden steel small wide round flat worn torn bent soft hard cold warm wet dry dark pale"
)
THINGS = "lamp tower carpet kettle ladder mask tent shell bottle wheel cloud river"
NAMES = [f"{adjective} {thing}" for thing in THINGS.split() for adjective in ADJECTIVES.split()]


def read(answer: str) -> list[str]:
    """What the reader of short lists makes of the pieces."""
    return [label for piece in pieces(answer) for label in parse_labels(piece, limit=1000).labels]


@pytest.mark.parametrize(
    "written",
    [
        "\n".join(NAMES),
        "Here are 264 names:\n\n" + "\n".join(f"{number}. {name}" for number, name in enumerate(NAMES, 1)),
        "\n".join(f"({number}) {name}" for number, name in enumerate(NAMES, 1)),
        "\n".join(f"- {name}" for name in NAMES),
        ", ".join(NAMES),
        json.dumps(NAMES),
        json.dumps(NAMES, indent=2),
        "<think>\n" + "red herring\n" * 80 + "</think>\n" + "\n".join(NAMES),
    ],
    ids=["lines", "numbered", "brackets", "bullets", "commas", "json", "json lines", "thinking"],
)
def test_every_name_of_a_long_list_is_read(written: str) -> None:
    assert len(NAMES) == 264
    assert read(written) == NAMES


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_any_text_is_cut_without_loss(text: str) -> None:
    lines = "".join(text.splitlines())
    if "</think>" not in text and not any(character.isdigit() for character in text):
        joined = "".join("".join(pieces(text)).splitlines())
        assert joined.replace(",", "") == lines.replace(",", "")


@given(st.lists(st.sampled_from(["word", ",", "\n", ", ", "99. "]), max_size=2000))
def test_pieces_are_short(parts: list[str]) -> None:
    for piece in pieces("".join(parts)):
        assert piece.count(",") + piece.count("\n") < ITEMS + 1
        assert len(piece) <= 2 * CHARACTERS


def test_nothing_is_one_empty_piece() -> None:
    assert pieces("") == [""]


def test_an_answer_without_end_is_looked_at_to_a_bound() -> None:
    found = pieces("wolf, " * 1_000_000)
    assert sum(map(len, found)) <= LONGEST
    assert len(pieces("</think>" + "wolf\n" * 1_000_000)) < LONGEST / ITEMS
