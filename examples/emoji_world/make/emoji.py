"""The emoji of the world: their code points, names, groups and subgroups."""

import re
from dataclasses import dataclass

from workspace import UNICODE

LEFT_OUT_GROUPS = {"Component", "Flags"}
LEFT_OUT_SUBGROUPS = {"alphanum", "keycap", "family", "time"}
KEPT_TIMES = {"hourglass done", "watch", "alarm clock", "stopwatch", "timer clock", "mantelpiece clock"}
RENAMED = {
    "hourglass done": "hourglass",
    "flag in hole": "golf hole",
    "t-shirt": "shirt",
    "one-piece swimsuit": "swimsuit",
    "ON! arrow": "on arrow",
    "END arrow": "end arrow",
    "BACK arrow": "back arrow",
    "SOON arrow": "soon arrow",
    "TOP arrow": "top arrow",
    "X-ray": "xray",
}


@dataclass(frozen=True)
class Emoji:
    """One emoji of the world."""

    code: tuple[int, ...]
    """Its code points, the variation selectors included."""
    name: str
    """Its name in lower case, without punctuation that a caption could not carry."""
    group: str
    subgroup: str

    @property
    def text(self) -> str:
        """The characters that draw it."""
        return "".join(chr(point) for point in self.code)

    @property
    def has_side(self) -> bool:
        """Whether mirroring or turning it would make it something else."""
        return (
            self.group == "Symbols"
            or self.subgroup.startswith("hand")
            or bool({"left", "right", "leftwards", "rightwards", "clockwise"} & set(self.name.split()))
        )


def plain_name(name: str) -> str:
    """The name as a caption writes it: lower case, letters and digits only."""
    name = RENAMED.get(name, name).lower()
    name = name.replace("’", "").replace("“", "").replace("”", "").replace("ñ", "n").replace("é", "e")
    name = name.replace("ã", "a").replace("í", "i").replace("ô", "o").replace("å", "a").replace("ç", "c")
    return " ".join(re.sub(r"[^a-z0-9 ]+", " ", name).split())


def all_emoji() -> list[Emoji]:
    """Every emoji of the world in Unicode's order, without skin tones, flags, clock faces and variants by gender."""
    found: list[Emoji] = []
    taken: set[str] = set()
    group = subgroup = ""
    for line in UNICODE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.split(":", 1)[1].strip()
        elif "; fully-qualified" in line:
            codes, rest = line.split(";", 1)
            raw = rest.split("#", 1)[1].split(maxsplit=2)[2].strip()
            code = tuple(int(point, 16) for point in codes.split())
            if not is_kept(code, raw, group, subgroup):
                continue
            name = plain_name(raw)
            if name and name not in taken:
                taken.add(name)
                found.append(Emoji(code, name, group, subgroup))
    return found


def is_kept(code: tuple[int, ...], name: str, group: str, subgroup: str) -> bool:
    """Whether an emoji belongs to the world."""
    if group in LEFT_OUT_GROUPS or "skin tone" in name:
        return False
    if " medium " in name or " small " in name:
        return False
    if subgroup in LEFT_OUT_SUBGROUPS and name not in KEPT_TIMES:
        return False
    first = name.replace(":", "").split()[0]
    if group == "People & Body" and subgroup.startswith("person") and first in {"man", "woman", "men", "women"}:
        return len(code) <= 2 and name not in {"man: beard", "woman: beard"}
    return not (subgroup.startswith("person") and "hair" in name and 0x200D in code)
