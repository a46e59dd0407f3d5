"""The notebook is executed, and none of its cells fails."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = "first_look.ipynb"


def test_the_notebook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a notebook keeps its plots; no window is opened for them
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    book = nbformat.reads((folder / "examples" / NOTEBOOK).read_text(encoding="utf-8"), as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells), "outputs stay out of the repository"
    # opened where it lies, as Jupyter does
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(folder / "examples")}}).execute()
    printed = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in printed), "the histogram"
    assert any("outlier  (id_score" in output.get("text", "") for output in printed), "why"
