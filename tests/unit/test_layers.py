"""The layers of the package: who may import whom, held as a table over every import of the tree."""

import ast
from pathlib import Path

import ants_engine

PACKAGE = Path(ants_engine.__file__).parent
BACKENDS = PACKAGE.parent / "backends"

LAYERS = {
    "errors": (),
    "protocol": (),
    "common": ("errors",),
    "settings": ("common", "errors"),
    "method": ("errors",),
    "lexicon": ("common", "errors", "method"),
    "backends": ("common", "errors", "protocol"),
    "detector": ("common", "errors", "method"),
    "clip": ("common", "errors", "protocol", "settings"),
    "dispatch": ("common", "errors", "method", "protocol", "settings"),
    "learning": ("clip", "common", "detector", "dispatch", "errors", "lexicon", "method", "protocol", "settings"),
    "baselines": ("common", "detector", "dispatch", "errors", "learning", "method", "protocol", "settings"),
    "datasets": ("clip", "common", "detector", "errors", "method"),
    "report": (
        *("baselines", "clip", "common", "datasets", "detector", "dispatch", "errors", "learning", "method"),
        "settings",
    ),
    "ants": (
        *("clip", "common", "detector", "dispatch", "errors", "learning", "method", "protocol", "report"),
        "settings",
    ),
    "adapters": ("ants", "clip", "common", "detector", "dispatch", "errors", "protocol", "settings"),
    "evaluation": (
        *("ants", "baselines", "clip", "common", "datasets", "detector", "dispatch", "errors", "learning", "method"),
        "settings",
    ),
    "serve": ("ants", "clip", "common", "detector", "errors", "learning", "protocol", "report", "settings"),
    "cli": (
        *("ants", "clip", "common", "datasets", "detector", "dispatch", "errors", "evaluation", "learning", "method"),
        *("report", "serve", "settings", "ants_engine"),
    ),
    # its names are loaded when they are first used
    "ants_engine": ("ants", "common", "detector", "learning", "protocol", "settings"),
}
"""Room or top module, lowest first, and the rooms that it may know; imports under ``TYPE_CHECKING`` count too."""


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name, `ants_engine.` left out."""
    found = {}
    for root, prefix in ((PACKAGE, ()), (BACKENDS, ("backends",))):
        for file in root.rglob("*.py"):
            parts = (*prefix, *file.relative_to(root).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "ants_engine"] = file
    return found


def imports(file: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules of the package that a file names in any import, wherever that stands."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.level:
                # within the backends, which are installed under a name of their own
                assert file.parent == BACKENDS, f"{file}: a relative import"
                continue
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in inner if name.removeprefix("ants_engine.") in known}
            # a name of the package itself, unless all that is imported are modules
            named |= modules if modules == inner else modules | {node.module}
    named = {name for name in named if name.split(".")[0] == "ants_engine"}
    return {name.removeprefix("ants_engine.") for name in named}


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def upward(known: dict[str, Path]) -> list[str]:
    """Return every import that the table does not allow."""
    return sorted(
        f"{module} imports {other}"
        for module, file in known.items()
        for other in imports(file, known)
        if room(other) != room(module) and room(other) not in LAYERS[room(module)]
    )


def test_every_module_stands_in_a_room_of_the_table() -> None:
    assert {room(module) for module in modules()} == set(LAYERS)


def test_the_table_points_down_only() -> None:
    order = list(LAYERS)
    for name, allowed in LAYERS.items():
        if name != "cli":
            assert all(order.index(other) < order.index(name) for other in allowed), name


def test_no_import_points_up() -> None:
    assert upward(modules()) == []


def test_what_the_table_allows_is_used() -> None:
    known = modules()
    used = {(room(module), room(other)) for module, file in known.items() for other in imports(file, known)}
    unused = [(name, other) for name, allowed in LAYERS.items() for other in allowed if (name, other) not in used]
    assert unused == []


def test_an_import_turned_upward_is_found(tmp_path: Path) -> None:
    """Also one that only a type checker sees, and one inside a function."""
    known = modules()
    for number, line in enumerate(("    from ants_engine.ants import ANTS", "    import ants_engine.report.assemble")):
        turned = tmp_path / f"{number}.py"
        turned.write_text(f"def f() -> None:\n{line}\n", encoding="utf-8")
        assert upward(known | {"detector.scores": turned}) == [
            f"detector.scores imports {line.split()[1].removeprefix('ants_engine.')}"
        ]


def test_only_the_public_face_stands_beside_the_rooms() -> None:
    assert {file.name for file in PACKAGE.glob("*.py")} == {"__init__.py", "ants.py", "errors.py", "protocol.py"}


def test_no_two_public_classes_share_a_name() -> None:
    """Names that start with an underscore are a module's own business."""
    homes: dict[str, list[str]] = {}
    for module, file in modules().items():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    twice = {name: places for name, places in homes.items() if len(places) > 1 and not is_backend_option(places, name)}
    assert twice == {}


def is_backend_option(places: list[str], name: str) -> bool:
    """Every backend calls its options ``Options``: that is the contract of a backend."""
    return name == "Options" and all(room(place) == "backends" for place in places)
