"""Run the blocks of one page in order, as a reader would: ``page_runner.py BLOCKS.json``, in a folder of its own.

Python blocks share one namespace and may await, as in a notebook or ``python -m asyncio``. Shell blocks are scripts of
their own in the same folder. A block with a file's name as its title is written to that file.
"""

import ast
import asyncio
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Run them; the first that fails ends it, with its place."""
    blocks = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks:
            print(f"--- {block['place']}", flush=True)
            if block["title"]:
                file = Path(block["title"])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block["code"], encoding="utf-8")
            elif block["language"] == "sh":
                subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", block["code"]], check=True)
            elif block["language"] == "python":
                _execute(block, names, runner)


def _execute(block: dict[str, Any], names: dict[str, Any], runner: asyncio.Runner) -> None:
    # the traceback's lines are the page's
    code = "\n" * block["line"] + block["code"]
    compiled = compile(code, block["page"], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:

        async def run() -> None:
            await eval(compiled, names)

        runner.run(run())
    else:
        exec(compiled, names)


if __name__ == "__main__":
    main()
