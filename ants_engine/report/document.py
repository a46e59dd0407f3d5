"""The content of a report as plain values: the page is made from it alone, and offers it as JSON."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ants_engine.common.terminal_text import encodable
from ants_engine.datasets.benchmark import ID_SET
from ants_engine.learning.report import BatchRecord

Column = tuple[float | None, ...]
"""(N,) a number per picture; None where the picture has none."""

ScoreName = Literal["id_score", "ens_score", "vsnl_score", "neglabel_score"]
SCORE_NAMES: tuple[ScoreName, ...] = ("id_score", "ens_score", "vsnl_score", "neglabel_score")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _fit_for_a_file(cls, values: Any) -> Any:
        """Escape what is not UTF-8: names of pictures, folders and runs may be any bytes."""
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
    """A line of the report, such as a count with its meaning."""

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
    """Per picture: the texts that lowered its score most, heaviest first."""
    thumbnails: tuple[str | None, ...]
    """Data URLs; None where there is none."""
    errors: tuple[str | None, ...]
    """Why a picture could not be read."""
    sets: tuple[str | None, ...] | None = None
    """Labels: ``id`` or an OOD set's name; None for a picture without one. None as a whole: no labels were given."""
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
    """A negative text, and its effect on the pictures of this report."""

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
    """Pictures for which no other text weighed more."""
    decisive: int | None = None
    """Pictures called unknown that would be called known without this text; None where that is not defined."""
    nearest_class: int | None = None
    class_nearness: float | None = None
    """Cosine to the nearest ID class, each kind of feature about its own mean."""
    catch_nearness: float | None = None
    """Cosine to the nearest picture that it should catch, likewise."""
    suspect: bool = False
    """It is nearer to an ID class than to any picture that it should catch: a likely cause of false alarms."""


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
    """Pictures, ID classes and negative texts in two dimensions."""

    method: Literal["PCA", "UMAP"]
    pictures: tuple[tuple[float, float] | None, ...]
    classes: tuple[tuple[float, float], ...]
    texts: tuple[tuple[float, float] | None, ...]
    """In the order of `Document.texts`; None: left out."""
    explained: tuple[float, float] | None = None
    """PCA: the share of the variance along each axis."""


class Requests(_Part):
    """The requests of a run, from its folder."""

    run: str
    state: str
    facts: tuple[Fact, ...]
    failed: tuple[Fact, ...]
    seconds: tuple[float, ...]
    """From submission to answer, per request that the MLLM answered, in the order of the answers."""
    ended: tuple[float, ...]
    """When the same requests ended, in seconds from the start of the run."""
    load: tuple[tuple[float, int, int], ...] = ()
    """Samples: seconds from the start, requests with the MLLM, and their limit."""


class SetAsideCount(_Part):
    """How often something was set aside for one reason."""

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
    """Sentences, look-alikes, and those words of the lexicon that weighed most for a picture."""
    comparison: MethodComparison | None = None
    maps: tuple[Map, ...] = ()
    batches: tuple[BatchRecord, ...] = ()
    """Of the streams, oldest first."""
    requests: Requests | None = None
    set_aside: tuple[SetAsideCount, ...] = ()
    notes: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    """Versions, model and settings."""
    missing: dict[str, str] = Field(default_factory=dict)
    """Section → a sentence that says what is missing, with the command that adds it."""


OOD_COLOURS = ("unknown", "set-2", "set-3", "set-4")


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures with the same kind of label; one colour in every figure and in the legend."""

    name: str
    """In the labels."""
    shown: str
    """On the page."""
    colour: str
    rows: tuple[int, ...]


def groups_of(pictures: ReportPictures) -> tuple[Group, ...]:
    """Return ID pictures, each OOD set, and pictures without a label; without any labels, all as one."""
    if pictures.sets is None:
        return (Group("", "pictures", "known", tuple(range(len(pictures)))),)
    rows: dict[str | None, list[int]] = {}
    for row, name in enumerate(pictures.sets):
        rows.setdefault(name, []).append(row)
    found = []
    if ID_SET in rows:
        found.append(Group(ID_SET, "known (ID)", "known", tuple(rows[ID_SET])))
    for number, name in enumerate(sorted(name for name in rows if name is not None and name != ID_SET)):
        shown = "unknown" if name == "ood" else f"{name}-OOD"
        found.append(Group(name, shown, OOD_COLOURS[number % len(OOD_COLOURS)], tuple(rows[name])))
    if None in rows:
        found.append(Group("", "no label", "muted", tuple(rows[None])))
    return tuple(found)
