"""Every code block of every page: run as it stands, or marked with a reason and checked as far as can be."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.docs.blocks import LANGUAGES, PAGES, ROOT, Block, all_blocks, blocks_of
from tests.docs.checks import is_setting, problems, settings_in
from tests.docs.warm_python import WarmPython

RUN = ("python", "sh")


def runs(block: Block) -> bool:
    return block.not_run is None and block.run_by is None and (block.language in RUN or block.title is not None)


def has_blocks(page: Path) -> bool:
    return any(runs(block) and block.language in RUN for block in blocks_of(page))


@pytest.mark.parametrize("page", [*filter(has_blocks, PAGES)], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs_from_top_to_bottom(page: Path, folder: Path, warm: WarmPython) -> None:
    blocks = [asdict(block) | {"place": block.place} for block in blocks_of(page) if runs(block)]
    (folder / ".blocks.json").write_text(json.dumps(blocks))
    runner = str(Path(__file__).with_name("page_runner.py"))
    warm.run(runner, ".blocks.json", cwd=folder)


@pytest.mark.parametrize("block", all_blocks(), ids=lambda block: block.place)
def test_a_block_is_sound(block: Block) -> None:
    assert block.language in LANGUAGES, f"say which language it is: {', '.join(sorted(LANGUAGES))}"
    assert list(problems(block)) == []


def test_a_block_with_a_test_of_its_own_has_one() -> None:
    own = [block for block in all_blocks() if block.run_by is not None]
    assert own
    for block in own:
        assert Path(block.page).name in (ROOT / str(block.run_by)).read_text(encoding="utf-8"), block.place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_a_page_names_exist(page: Path) -> None:
    named = settings_in(page.read_text(encoding="utf-8"))
    assert [setting for setting in named if not is_setting(setting.split("."))] == []


def test_what_is_not_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block for block in all_blocks() if block.language in RUN]
    left_out = [block for block in blocks if block.not_run is not None]
    with capsys.disabled():
        print(f"\n{len(blocks) - len(left_out)} code blocks run; {len(left_out)} do not:")
        for block in left_out:
            print(f"  {block.place}: {block.not_run}")
    assert len(left_out) < len(blocks) / 2, "most blocks of a page should be such that they can be run"
