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
    expected = {"functions": 12, "stream": 6, "labels": 2, "lexicon": 3}
    assert len(lines) == expected[path.stem.split("_")[0]] + 1
    assert lines[-1] == "parity"


def test_agrees_with_all_shared_fixtures(check, capsys):
    paths = sorted(SHARED.iterdir()) if SHARED.is_dir() else []
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


@pytest.mark.parametrize(
    ("key", "row", "what"), [("confidences", 777, "confidences"), ("predictions", 3999, "predictions")]
)
def test_one_picture_that_differs_is_a_failure(check, tmp_path, capsys, key, row, what):
    with np.load(HERE / "fixtures" / "stream_near_1.npz") as archive:
        golden = dict(archive)
    golden[key][row] += 1 if key == "predictions" else 2e-5
    path = tmp_path / "stream_near_9.npz"
    np.savez(path, **golden)
    assert check.main([str(path)]) == 1
    wrong = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "MORE THAN" in line]
    assert wrong == [what]


def test_a_call_or_a_bank_that_differs_is_a_failure(check, tmp_path, capsys):
    with np.load(HERE / "fixtures" / "stream_near_1.npz") as archive:
        golden = dict(archive)
    golden["calls"] = np.array(str(golden["calls"]).replace('["similar", 8]', '["similar", 9]'))
    golden["state_per_batch"][40, 3] += 1
    path = tmp_path / "stream_near_9.npz"
    np.savez(path, **golden)
    assert check.main([str(path)]) == 1
    wrong = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "MORE THAN" in line]
    assert wrong == ["calls", "bank"]


def test_other_files_are_named_and_fail(check, tmp_path, capsys):
    stream = tmp_path / "stream_far_1.npz"
    np.savez(stream, image_features=np.zeros(3))
    shutil.copy(HERE / "check.py", tmp_path / "notes.txt")
    assert check.main([str(stream), str(tmp_path / "notes.txt"), str(tmp_path / "absent.npz")]) == 1
    printed = capsys.readouterr().out
    assert "stream_far_1.npz: neither functions nor a stream" in printed
    assert printed.splitlines()[-1] == "NO PARITY"
    assert "notes.txt: not a fixture" in printed
    assert "absent.npz: " in printed
    assert check.main([]) == 2
