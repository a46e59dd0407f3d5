"""A small share of what ``python -m benchmarks.reliability.fuzz`` runs, by the same seeds."""

import time

import pytest

from ants_engine.clip import decode
from ants_engine.settings.config import ImageSettings
from benchmarks.reliability.answer_fuzz import changed_answer
from benchmarks.reliability.fuzz import fuzz_answers, fuzz_pictures
from benchmarks.reliability.picture_fuzz import damaged_picture, sound_pictures


def test_damaged_pictures_end_as_pictures_or_typed_errors() -> None:
    tally = fuzz_pictures(300, ImageSettings(max_pixels=2_000_000))
    assert not tally.crashes
    assert sum(tally.ended.values()) == 300
    assert tally.ended["picture"] > 20
    assert tally.ended["ImageUnreadableError"] > 100
    assert tally.slowest < 5


def test_changed_answers_are_read_or_set_aside() -> None:
    tally = fuzz_answers(200, longest=200_000)
    assert not tally.crashes
    assert sum(tally.ended.values()) == 200
    assert len(tally.ended) >= 4, "every way to end is met"
    assert tally.slowest < 5


def test_the_same_seed_damages_alike_and_every_sound_picture_is_one() -> None:
    sound = sound_pictures()
    assert {name.partition(" ")[0] for name in sound} == {"png", "jpeg", "gif", "webp", "tiff", "bmp"}
    for data in sound.values():
        decode.load_rgb(data, name="sound", limits=ImageSettings())
    assert [damaged_picture(seed, sound) for seed in range(40)] == [damaged_picture(seed, sound) for seed in range(40)]
    assert changed_answer(8) == changed_answer(8)
    assert len({changed_answer(seed) for seed in range(40)}) > 20


def test_what_should_not_happen_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        time.sleep(0.001)
        raise RuntimeError("a defect")

    # outside of what `load_rgb` translates
    monkeypatch.setattr("ants_engine.clip.image_ref.load_rgb", lambda *_, **__: broken(b""))
    tally = fuzz_pictures(3, ImageSettings())
    assert len(tally.crashes) == 3
    assert "a defect" in tally.crashes[0]
    assert tally.slowest >= 0.001
