"""Pictures that look unknown, with what is needed to describe them and to weigh them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.learning.rows import Rows


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture with an initial score below gamma."""

    id: int
    """Its position in the stream."""
    name: str
    predicted: int
    """The ID class that CLIP took it for."""
    ref: ImageRef | None
    """Where the MLLM can be shown it; None where only features were given."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What the MLLM said of a candidate."""

    text: str | None
    """None where there is nothing to be had."""
    source: str
    """The picture's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The latest candidates, oldest first; a new value at every change."""

    items: Mapping[int, Candidate]
    scores: Rows
    """(n,) float32 S_nl."""
    features: Rows
    """(n, D) float32."""

    @classmethod
    def of(cls, limit: int, dim: int) -> "Candidates":
        """Return none, with room for ``limit``."""
        return cls({}, Rows.of(limit), Rows.of(limit, dim))

    def __len__(self) -> int:
        """Return n."""
        return len(self.items)

    def append(self, more: Sequence[Candidate], scores: Tensor, features: Tensor) -> "Candidates":
        """Return these and more, without the oldest ones where there are too many."""
        if not more:
            return self
        items = [*self.items.values(), *more][-self.scores.limit :]
        return Candidates({item.id: item for item in items}, self.scores.append(scores), self.features.append(features))

    def described(self, ids: Iterable[int]) -> "Candidates":
        """Return the same; the pictures of these ids, present or not, are let go of: nobody will look at them again."""
        items = dict(self.items)
        for key in ids:
            if key in items:
                items[key] = replace(items[key], ref=None)
        return replace(self, items=items)

    def cleared(self) -> "Candidates":
        """Return none, with the same room."""
        return Candidates({}, replace(self.scores, chunks=()), replace(self.features, chunks=()))
