import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

HERE = Path(__file__).parent
FIXTURES = sorted((HERE / "fixtures").iterdir())
SHARED = HERE.parents[1].parent / "shared" / "golden"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_check", HERE / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_agrees_with_the_reference_code(check, path, capsys):
    assert check.main([str(path)]) == 0, capsys.readouterr().out
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == path.name
    assert len(lines) == (12 if path.suffix == ".npz" else 2)


def test_agrees_with_all_shared_fixtures(check, capsys):
    paths = [*sorted(SHARED.glob("functions_*.npz")), *SHARED.glob("labels.json")] if SHARED.is_dir() else []
    if not paths:
        pytest.skip("no golden fixtures in ../shared/golden; those in tests/golden/fixtures were checked")
    assert check.main([str(path) for path in paths]) == 0, capsys.readouterr().out


def test_a_difference_is_a_failure(check, tmp_path, capsys):
    with np.load(HERE / "fixtures" / "functions_1.npz") as archive:
        golden = dict(archive)
    golden["grouped_20"] = golden["grouped_20"] + np.float32(1e-4)
    path = tmp_path / "functions_9.npz"
    np.savez(path, **golden)
    assert check.main([str(path)]) == 1
    assert next(line for line in capsys.readouterr().out.splitlines() if "MORE THAN" in line).split()[0] == "grouped_20"


def test_other_files_are_named_and_fail(check, tmp_path, capsys):
    stream = tmp_path / "stream_far_1.npz"
    np.savez(stream, image_features=np.zeros(3))
    shutil.copy(HERE / "check.py", tmp_path / "notes.txt")
    assert check.main([str(stream), str(tmp_path / "notes.txt"), str(tmp_path / "absent.npz")]) == 1
    printed = capsys.readouterr().out
    assert "stream_far_1.npz: not supported yet" in printed
    assert "notes.txt: not a fixture" in printed
    assert "absent.npz: " in printed
    assert check.main([]) == 2
