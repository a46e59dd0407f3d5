"""What names and answers become before a terminal sees them."""

import io
import json
import sys
from dataclasses import dataclass, field

import pytest

from ants_engine.cli.output import render_table
from ants_engine.common.canonical_json import readable
from ants_engine.common.progress import ProgressEvent, progress_reporter
from ants_engine.common.terminal_text import plain, plain_json, plain_lines, plain_parts
from ants_engine.learning.report import BuildReport, SetAside
from ants_engine.method.answer import Rejection

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\u200b\n[red]x[/red]{0.__class__}%s"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a cat", "a cat"),
        ("Käse 猫 עברית 👩\u200d🚀 [red]", "Käse 猫 עברית 👩\u200d🚀 [red]"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;t\x07", "\\x1b]0;t\\x07"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("ca\u200bt\ufeff\u2066", "ca\\u200bt\\ufeff\\u2066"),
        ("\udcff\U000e0041", "\\udcff\\U000e0041"),
        ("\u2028", "\\u2028"),
    ],
)
def test_what_a_terminal_would_act_on_is_spelled_out(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert plain(shown) == shown
    assert plain(text).encode()


def test_lines_stay_lines() -> None:
    assert plain_lines("a\x1b\nb\r\n") == "a\\x1b\nb\\r\n"


def test_nothing_that_a_prompt_may_not_hold_gets_through_here() -> None:
    for code in (*range(0x20000), *range(0xE0000, 0xE1000)):
        character = chr(code)
        if readable(character) != f'"{character}"' and character not in '"\\':
            assert plain(character) != character, hex(code)


def test_json_stays_json() -> None:
    value = {HOSTILE: [HOSTILE, 1.5, None, "👩\u200d🚀", "\U000e0041"]}
    for indent in (None, 1):
        text = plain_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(text) == value
        assert not {"\x1b", "\x9b", "\u202e", "\u200b"} & set(text)


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    reason: Rejection
    count: int = 3


@dataclass
class Outer:
    inner: Inner
    texts: tuple[str, ...]
    by_name: dict[str, list[str]] = field(default_factory=dict)


def test_every_text_of_a_value_is_reached_and_nothing_else_changes() -> None:
    value = Outer(Inner("\x1b", Rejection.EMPTY), ("\x07", "b"), {"\x08": ["\n"]})
    assert plain_parts(value) == Outer(Inner("\\x1b", Rejection.EMPTY), ("\\x07", "b"), {"\\x08": ["\\n"]})
    assert value.inner.name == "\x1b"
    assert plain_parts([1, None, 2.5]) == [1, None, 2.5]


def test_a_reports_lines_cannot_be_forged() -> None:
    report = BuildReport(set_aside=[SetAside("picture", "a", "a\nnote: all is well\x1b[2J")], notes=["b\nc"])
    text = str(plain_parts(report))
    assert "\nnote: all is well" not in text
    assert text.splitlines()[-2:] == ["set aside: 1 picture: a\\nnote: all is well\\x1b[2J", "note: b\\nc"]


def test_cells_are_no_markup() -> None:
    table = render_table(
        "of [blue]t[/blue] :smile:", ["[b]a", "n"], [[["[red]x[/red] :warning: \x1b[2J", "1"], ["[/]", "2"]]]
    )
    for text in ("of [blue]t[/blue] :smile:", "[red]x[/red] :warning: \\x1b[2J", "[b]a", "[/]"):
        assert text in table
    assert "\x1b" not in table


@pytest.mark.parametrize("text", [HOSTILE, "[/]", "[/red]", "{task.fields}", "[link=http://x]"])
def test_a_bar_shows_text_as_it_is(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_reporter("on", None) as tell:
        tell(ProgressEvent("captions", 1, 2, text))
        tell(ProgressEvent(text, 1, 2))
    assert not {"\x07", "\x9b", "\u202e", "\u200b"} & set(screen.getvalue())
    assert "\x1b]0;" not in screen.getvalue()
    assert plain(text)[:9] in screen.getvalue()
