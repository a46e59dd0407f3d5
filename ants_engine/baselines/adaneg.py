"""AdaNeg (Zhang and Zhang, NeurIPS 2024, arXiv 2410.20149), with its task-adaptive proxies."""

import math

import torch
from torch import Tensor

from ants_engine.baselines.baseline import TextSpace
from ants_engine.errors import UsageError
from ants_engine.method.grouping import equal_groups, grouped_score

FIRST_ROOM = 64


class LabelMemory:
    """AdaNeg's memory of one kind of label. Only labels that have pictures take up room.

    It never holds more than K · (length - 1) features of pictures.
    """

    def __init__(self, texts: Tensor, length: int) -> None:
        """Start with texts alone.

        Args:
            texts: (K, D) float32, L2-normalised features of the labels.
            length: places per label, the first of which is the text's.
        """
        self._texts = texts
        self._room = length - 1
        self._rows: dict[int, int] = {}
        self._pictures: list[list[Tensor]] = []
        self._entropies: list[list[float]] = []
        self._proxies = torch.empty(FIRST_ROOM, texts.shape[1])
        self._changed: set[int] = set()

    def __len__(self) -> int:
        """Return how many pictures are kept."""
        return sum(map(len, self._pictures))

    def offer(self, label: int, feature: Tensor, entropy: float) -> None:
        """Keep a picture's feature (D,) for a label; with no place left, for the least certain one if that is less so.

        Args:
            label: from 0 to K - 1.
            feature: (D,) float32, L2-normalised.
            entropy: of the picture's softmax; the lower, the surer.
        """
        row = self._row(label)
        pictures, entropies = self._pictures[row], self._entropies[row]
        # a copy, or one kept picture would hold its whole batch in memory
        if len(pictures) < self._room:
            pictures.append(feature.clone())
            entropies.append(entropy)
        else:
            vaguest = max(range(self._room), key=entropies.__getitem__)
            if not entropy < entropies[vaguest]:
                return
            pictures[vaguest] = feature.clone()
            entropies[vaguest] = entropy
        self._changed.add(label)

    def proxies(self) -> tuple[Tensor, Tensor]:
        """Return the labels that have pictures (H,) int64, and their proxies (H, D) float32.

        A proxy is the mean over all places of its label, empty ones counted as zeros, and then L2-normalised: the
        direction of the sum of the text and the pictures. Of any other label it is the text itself.
        """
        for label in self._changed:
            row = self._rows[label]
            total = torch.stack([self._texts[label], *self._pictures[row]]).sum(dim=0)
            self._proxies[row] = torch.nn.functional.normalize(total, dim=0)
        self._changed.clear()
        return torch.tensor(list(self._rows), dtype=torch.int64), self._proxies[: len(self._rows)]

    def _row(self, label: int) -> int:
        row = self._rows.setdefault(label, len(self._rows))
        if row == len(self._pictures):
            self._pictures.append([])
            self._entropies.append([])
            if row == len(self._proxies):
                self._proxies = torch.cat([self._proxies, torch.empty_like(self._proxies)])
        return row


# ---- the method ------------------------------------------------------------------------------------------------------


class AdaNeg:
    """S = S_ada + weight · S_nl, in [0, 1 + weight], over a stream whose own pictures shape S_ada.

    S_nl is NegLabel's grouped score. A batch's clear pictures go into a memory first, and the batch is scored after
    that: with S_nl > thres + gap · (1 - thres) under the nearest ID class, with S_nl < thres - gap · thres under the
    nearest negative. S_ada is the grouped score with each label's proxy (see `LabelMemory.proxies`) in place of its
    text. The predicted class has the highest softmax(text logits) + weight · softmax(proxy logits), each softmax over
    ID classes and negatives together.

    A full memory exchanges the picture of the highest entropy (of the softmax over the ID classes, or over the
    negatives) for one of a lower entropy, as the paper has it, so a label ends up with its surest pictures in whatever
    order they came. The public code means the same, but there the entropy is NaN in half precision wherever a
    probability vanishes, no comparison holds, and the first pictures stay for ever; float32 is used here. There, too,
    ``length`` counts the text, so that nine pictures are kept.

    The published settings, and these, cut the negatives into 5 groups. The fewer groups, the longer they are and the
    lower S_nl is, which decides what is stored at all. Scores depend on the batches, as with every test-time
    method.
    """

    name = "adaneg"

    def __init__(
        self,
        space: TextSpace,
        length: int = 10,
        thres: float = 0.5,
        gap: float = 0.5,
        weight: float = 0.1,
        groups: int | None = 5,
    ) -> None:
        """Start with an empty memory.

        Args:
            space: ID classes and negatives.
            length: places per label, the first of which is the text's; at least 2.
            thres: S_nl that parts ID from OOD, in [0, 1].
            gap: how far from it a picture must be to be stored, as a share of the way to 0 and to 1, in [0, 1].
            weight: share of S_nl in the score and of the proxies in the prediction, at least 0.
            groups: cut the negatives into so many groups, in random order seeded 0; the space's own groups when empty.

        Raises:
            UsageError: an option does not fit.
        """
        if length < 2 or not 0.0 <= thres <= 1.0 or not 0.0 <= gap <= 1.0 or not weight >= 0.0:
            raise UsageError(
                "adaneg: length must be at least 2, thres and gap in [0, 1], weight at least 0; "
                f"not {length}, {thres}, {gap}, {weight}"
            )
        if groups is not None and groups < 1:
            raise UsageError(f"adaneg: groups must be at least 1, not {groups}")
        self._space = space
        self._groups = space.groups if groups is None else equal_groups(len(space.negatives), groups, seed=0)
        self._length = length
        self._id_above = thres + gap * (1.0 - thres)
        self._ood_below = thres - gap * thres
        self._weight = weight
        self.reset()

    @property
    def pictures(self) -> int:
        """Return how many pictures are kept."""
        return len(self._id_memory) + len(self._negative_memory)

    def reset(self) -> None:
        """Forget the pictures seen so far."""
        self._id_memory = LabelMemory(self._space.class_features, self._length)
        self._negative_memory = LabelMemory(self._space.negatives, self._length)

    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Take one batch into the memory, then score it; see `Baseline.score`."""
        features = self._space.check(features)
        id_text, negative_text = self._space.id_logits(features), self._space.negative_logits(features)
        initial = grouped_score(id_text, negative_text, self._groups)
        _store(self._id_memory, features, id_text, initial > self._id_above)
        _store(self._negative_memory, features, negative_text, initial < self._ood_below)
        id_proxy = self._proxy_logits(self._id_memory, features, id_text)
        negative_proxy = self._proxy_logits(self._negative_memory, features, negative_text)
        adaptive = grouped_score(id_proxy, negative_proxy, self._groups)
        by_text, by_proxy = _log_probability(id_text, negative_text), _log_probability(id_proxy, negative_proxy)
        share = math.log(self._weight) if self._weight else -math.inf
        # in logarithms, since every ID probability of an OOD picture may underflow
        predicted = torch.logaddexp(by_text, by_proxy + share).argmax(dim=1)
        return predicted, adaptive + self._weight * initial

    def _proxy_logits(self, memory: LabelMemory, features: Tensor, text_logits: Tensor) -> Tensor:
        """Return logits like ``text_logits``, with those of the labels that have pictures made anew."""
        labels, proxies = memory.proxies()
        logits = text_logits.clone()
        logits[:, labels] = features @ proxies.T / self._space.temperature
        return logits


def _store(memory: LabelMemory, features: Tensor, logits: Tensor, clear: Tensor) -> None:
    """Offer the rows marked in ``clear`` (N,) to the memory, each under its most likely label, in their order."""
    rows = torch.nonzero(clear).flatten()
    if not len(rows) or not logits.shape[1]:
        return
    chosen = logits[rows]
    log_probability = torch.log_softmax(chosen, dim=1)
    entropies = -(log_probability.exp() * log_probability).sum(dim=1)
    labels = chosen.argmax(dim=1)
    for row, label, entropy in zip(rows.tolist(), labels.tolist(), entropies.tolist(), strict=True):
        memory.offer(label, features[row], entropy)


def _log_probability(id_logits: Tensor, negative_logits: Tensor) -> Tensor:
    """Return the ID classes' part (N, C) of the log-softmax over ID classes and negatives."""
    whole = torch.logaddexp(torch.logsumexp(id_logits, dim=1), torch.logsumexp(negative_logits, dim=1))
    return id_logits - whole[:, None]
