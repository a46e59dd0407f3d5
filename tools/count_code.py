"""Count files and lines of code: ``python -m tools.count_code [FOLDER …]``.

A line counts when it holds a token of code: blanks, comments and docstrings do not.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

SKIPPED = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


def code_lines(source: str) -> int:
    """Count the lines that hold code.

    Raises:
        SyntaxError: the source does not parse.
    """
    texts = [
        range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    described = {line for lines in texts for line in lines}
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED:
            found.update(range(token.start[0], token.end[0] + 1))
    return len(found - described)


def main(folders: list[str]) -> None:
    """Print files and lines of each folder, largest first, and of all."""
    rooms: dict[str, list[int]] = {}
    for folder in folders:
        for file in sorted(Path(folder).rglob("*.py")):
            parts = file.relative_to(folder).parts
            room = f"{folder}/{parts[0]}" if len(parts) > 1 else folder
            rooms.setdefault(room, []).append(code_lines(file.read_text(encoding="utf-8")))
    for room, lines in sorted(rooms.items(), key=lambda item: -sum(item[1])):
        print(f"{room:<32} {len(lines):4} files {sum(lines):6} lines of code")
    every = [count for lines in rooms.values() for count in lines]
    print(f"{'altogether':<32} {len(every):4} files {sum(every):6} lines of code")


if __name__ == "__main__":
    main(sys.argv[1:] or ["ants_engine", "backends"])
