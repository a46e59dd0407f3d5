"""Pictures by what is known of them: one colour each, in every figure and in the legend."""

from dataclasses import dataclass

from ants_engine.datasets.benchmark import ID_SET
from ants_engine.report.document import Pictures

OOD_COLOURS = ("foreign", "set-2", "set-3", "set-4")


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the pictures."""

    name: str
    """What the labels call them."""
    shown: str
    """The same for people."""
    colour: str
    rows: tuple[int, ...]


def groups_of(pictures: Pictures) -> tuple[Group, ...]:
    """Return ID pictures, each OOD set, and pictures without a label; without any labels, all as one."""
    everyone = tuple(range(len(pictures)))
    if pictures.sets is None:
        return (Group("", "pictures", "known", everyone),)
    rows: dict[str | None, list[int]] = {}
    for row, name in enumerate(pictures.sets):
        rows.setdefault(name, []).append(row)
    found = []
    if ID_SET in rows:
        found.append(Group(ID_SET, "known (ID)", "known", tuple(rows[ID_SET])))
    oods = sorted(name for name in rows if name not in (ID_SET, None) and name is not None)
    for number, name in enumerate(oods):
        shown = "unknown" if name == "ood" else f"{name}-OOD"
        found.append(Group(name, shown, OOD_COLOURS[number % len(OOD_COLOURS)], tuple(rows[name])))
    if None in rows:
        found.append(Group("", "no label", "muted", tuple(rows[None])))
    return tuple(found)
