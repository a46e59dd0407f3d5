import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean, and without the network."""
    out = tmp_path_factory.mktemp("wheel")
    copy = out / "source"
    copy.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in listed.decode().split("\0"):
        if name and not name.startswith(("examples/", "tests/")) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_one_import_name_and_no_pictures(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ants_engine"}
    for needed in (
        "ants_engine/backends/huggingface.py",
        "ants_engine/prompts/ens/v1.toml",
        "ants_engine/prompts/vsnl/v1.toml",
        "ants_engine/lexicon/wordnet.txt.gz",
        "ants_engine/lexicon/LICENSE-WordNet.txt",
        "ants_engine/py.typed",
        "ants_engine/report/assets/report.css",
        "ants_engine/report/assets/report.html.jinja",
        "ants_engine/report/assets/report.js",
    ):
        assert needed in names
    for module in (ROOT / "ants_engine").rglob("*.py"):
        assert module.relative_to(ROOT).as_posix() in names, "a package that pyproject.toml does not name"
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 2_000_000


def test_it_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Installed without its dependencies, which are lent from here: nothing may come from the repository."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, str(wheel)], check=True)
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    probe = (
        "import ants_engine, sys; assert 'torch' not in sys.modules; print(ants_engine.__file__); "
        "from ants_engine.lexicon.lexicon import load_lexicon; print(len(load_lexicon('wordnet').words))"
    )
    run = subprocess.run([python, "-c", probe], cwd=tmp_path, check=True, capture_output=True, text=True)
    where, words = run.stdout.split()
    assert str(site) in where
    assert int(words) > 70_000
    for arguments in (["--help"], ["prompts", "list"], ["backends"]):
        ants = tmp_path / "env" / "bin" / "ants"
        listed = subprocess.run([ants, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        assert listed
