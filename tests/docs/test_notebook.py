"""The notebook is executed, and none of its cells fails."""

import json
from pathlib import Path

import nbformat

from tests.docs.warm_python import WarmPython

NOTEBOOK = "first_look.ipynb"
RUN = "from nbclient.cli import main; main(argv=['--inplace', 'examples/{}'])"


def test_the_notebook(warm: WarmPython, folder: Path) -> None:
    file = folder / "examples" / NOTEBOOK
    book = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells), "outputs stay out of the repository"
    # the kernel that the notebook names, started warm
    kernel = folder / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    start = [str(warm.commands / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": start, "display_name": "Python 3", "language": "python"}))
    inline = "module://matplotlib_inline.backend_inline"
    environ = {"JUPYTER_PATH": str(folder), "PYTHONWARNINGS": "ignore", "MPLBACKEND": inline}
    warm.run("-c", RUN.format(NOTEBOOK), cwd=folder, **environ)
    book = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
    printed = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in printed), "the histogram"
    assert any("unknown  (id_score" in output.get("text", "") for output in printed), "why"
