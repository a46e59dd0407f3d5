"""What a report says, as plain values: the page is made of this and of nothing else, and it can be had as JSON."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ants_engine.common.terminal_text import encodable
from ants_engine.datasets.benchmark import ID_SET
from ants_engine.learning.report import BatchRecord

Column = tuple[float | None, ...]
"""(N,) one number a picture; None where the picture has none."""

ScoreName = Literal["id_score", "ens_score", "vsnl_score", "neglabel_score"]
SCORE_NAMES: tuple[ScoreName, ...] = ("id_score", "ens_score", "vsnl_score", "neglabel_score")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _fit_for_a_file(cls, values: Any) -> Any:
        """Spell what no file takes: a picture, a folder or a run may have a name that is not UTF-8."""
        return _encodable(values)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(part) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(map(_encodable, value))
    return value


class Fact(_Part):
    """One thing worth a line, such as a count, with what it means."""

    name: str
    value: str
    note: str = ""


class Weighed(_Part):
    """A text that lowered one picture's ``id_score``."""

    text: int
    """Position in `Document.texts`."""
    amount: float
    """In [0, 1]; a picture's amounts over all texts sum to 1 - ``id_score``."""


class ReportPictures(_Part):
    """N pictures, column by column, in the order given."""

    names: tuple[str, ...]
    id_score: Column
    """In [0, 1], higher = more in-distribution; None: the picture could not be read."""
    ens_score: Column
    vsnl_score: Column
    neglabel_score: Column
    predicted: tuple[int, ...]
    """Index of the nearest ID class; -1: unreadable."""
    weighed: tuple[tuple[Weighed, ...], ...]
    """Per picture: the texts that lowered its score most, most first."""
    thumbnails: tuple[str | None, ...]
    """Data URLs; None where there is none."""
    errors: tuple[str | None, ...]
    """Why a picture could not be read."""
    sets: tuple[str | None, ...] | None = None
    """Labels: ``id`` or an OOD set's name; None where nobody says. None as a whole: no labels were given."""
    labels: tuple[int | None, ...] | None = None
    """Labels: the true ID class, where it is known."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.names)

    def column(self, name: ScoreName) -> Column:
        """Return one score's column (N,)."""
        found: Column = getattr(self, name)
        return found


class Text(_Part):
    """A negative text, and what it did to the pictures of this report."""

    text: str
    kind: Literal["ens", "vsnl", "neglabel"]
    source: str
    """The picture that was described, the ID class that it looks like, or the lexicon."""
    picture: int | None = None
    """The described picture's row, if it is one of this report's."""
    moved: float | None = None
    """Mean over all pictures of how much it lowered ``id_score``; None without pictures."""
    moved_known: float | None = None
    """The same over the known pictures: by the labels where there are any, else by the verdict."""
    moved_unknown: float | None = None
    most: float | None = None
    """The most that it lowered one picture's ``id_score``."""
    most_picture: int | None = None
    """That picture's row."""
    leading: int | None = None
    """ReportPictures for which no other text weighed more."""
    decisive: int | None = None
    """ReportPictures called unknown that would be called known without this text; None where that is not defined."""
    nearest_class: int | None = None
    class_nearness: float | None = None
    """Cosine to the nearest ID class, each kind of feature about its own mean."""
    catch_nearness: float | None = None
    """Cosine to the nearest picture that it should catch, likewise."""
    suspect: bool = False
    """It sits closer to an ID class than to any picture that it should catch: a likely cause of false alarms."""


class SetMetrics(_Part):
    """One method on one OOD set; shares in [0, 1]."""

    ood_set: str
    auroc: float
    fpr95_openood: float
    fpr95_id_positive: float


class MethodRow(_Part):
    """One method on the same pictures."""

    name: str
    what: str
    sets: tuple[SetMetrics, ...]
    roc: tuple[tuple[float, float], ...]
    """Points (false, true positive rate) against all OOD pictures together, in the report's convention."""
    ours: bool = False


class MethodComparison(_Part):
    """Methods side by side."""

    convention: Literal["openood", "id_positive"]
    methods: tuple[MethodRow, ...]
    accuracy: float | None = None
    """Share of ID pictures whose nearest class is the true one."""


class Map(_Part):
    """ReportPictures, ID classes and negative texts in two dimensions."""

    method: Literal["PCA", "UMAP"]
    pictures: tuple[tuple[float, float] | None, ...]
    classes: tuple[tuple[float, float], ...]
    texts: tuple[tuple[float, float] | None, ...]
    """In the order of `Document.texts`; None: left out."""
    explained: tuple[float, float] | None = None
    """PCA: the share of the variance along each axis."""


class Requests(_Part):
    """What a run folder says of the requests."""

    run: str
    state: str
    facts: tuple[Fact, ...]
    failed: tuple[Fact, ...]
    seconds: tuple[float, ...]
    """Per request that the MLLM answered, in the order of the answers: from submission to answer."""
    ended: tuple[float, ...]
    """The same requests' endings, in seconds from the start of the run."""
    load: tuple[tuple[float, int, int], ...] = ()
    """Now and then: seconds from the start, requests that were with the MLLM, and how many might have been."""


class SetAsideCount(_Part):
    """How often something was set aside, and why."""

    what: str
    reason: str
    count: int
    example: str


class Document(_Part):
    """A whole report."""

    format: Literal[1] = 1
    title: str
    made: str
    """When, UTC."""
    threshold: float | None
    """Below this ``id_score`` a picture is called unknown; None: no detector is known."""
    weight: float | None
    """Lambda, the share of the sentences in ``id_score``."""
    headline: tuple[Fact, ...]
    classes: tuple[str, ...] = ()
    pictures: ReportPictures | None = None
    texts: tuple[Text, ...] = ()
    """Sentences, look-alikes, and such words of the lexicon as weighed most for a picture."""
    comparison: MethodComparison | None = None
    maps: tuple[Map, ...] = ()
    batches: tuple[BatchRecord, ...] = ()
    """Of the streams, oldest first."""
    requests: Requests | None = None
    set_aside: tuple[SetAsideCount, ...] = ()
    notes: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    """Versions, model, settings that matter."""
    missing: dict[str, str] = Field(default_factory=dict)
    """Section → one sentence that says what is missing, and the command that would give it."""


OOD_COLOURS = ("unknown", "set-2", "set-3", "set-4")


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the pictures."""

    name: str
    """What the labels call them."""
    shown: str
    """The same for people."""
    colour: str
    rows: tuple[int, ...]


def groups_of(pictures: ReportPictures) -> tuple[Group, ...]:
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
