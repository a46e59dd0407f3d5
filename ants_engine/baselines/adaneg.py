"""AdaNeg (Zhang and Zhang, NeurIPS 2024, arXiv 2410.20149), with its task-adaptive proxies."""

import math

import torch
from torch import Tensor

from ants_engine.baselines.baseline import TextSpace
from ants_engine.errors import UsageError
from ants_engine.method.grouping import equal_groups, grouped_score


class LabelMemory:
    """AdaNeg's memory of one kind of label: the most confident pictures of each label, and the proxies they make.

    It holds at most K · (length - 1) features; only labels with pictures take up space.
    """

    def __init__(self, texts: Tensor, length: int) -> None:
        """Start with the texts alone.

        Args:
            texts: (K, D) float32, L2-normalised features of the labels.
            length: slots per label, the first of which is the text's.
        """
        self._texts = texts
        self._room = length - 1
        self._kept: dict[int, list[tuple[float, Tensor]]] = {}
        self._proxies: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """Return the number of pictures kept."""
        return sum(map(len, self._kept.values()))

    def offer(self, label: int, feature: Tensor, entropy: float) -> None:
        """Keep a picture for a label; a full label replaces its picture of highest entropy, if that is higher.

        Args:
            label: from 0 to K - 1.
            feature: (D,) float32, L2-normalised.
            entropy: of the picture's softmax; lower is more confident.
        """
        kept = self._kept.setdefault(label, [])
        place = len(kept)
        if place == self._room:
            place = max(range(self._room), key=lambda one: kept[one][0])
            if not entropy < kept[place][0]:
                return
        # a copy, since a view would keep its whole batch in memory
        kept[place : place + 1] = [(entropy, feature.clone())]
        self._proxies.pop(label, None)

    def proxies(self) -> tuple[Tensor, Tensor]:
        """Return the labels that have pictures (H,) int64, and their proxies (H, D) float32.

        A proxy is the L2-normalised mean over all slots of its label, empty ones as zeros: the direction of the sum of
        text and pictures. The proxy of any other label is its text.
        """
        for label, kept in self._kept.items():
            if label not in self._proxies:
                total = torch.stack([self._texts[label], *(feature for _, feature in kept)]).sum(dim=0)
                self._proxies[label] = torch.nn.functional.normalize(total, dim=0)
        rows = [self._proxies[label] for label in self._kept]
        return torch.tensor(list(self._kept), dtype=torch.int64), torch.stack(rows) if rows else self._texts[:0]


class AdaNeg:
    """S = S_ada + weight · S_nl, in [0, 1 + weight]; S_ada adapts to the pictures of the stream.

    S_nl is NegLabel's grouped score. A batch's confident pictures are stored in a memory before the batch is scored:
    those with S_nl > thres + gap · (1 - thres) under the nearest ID class, those with S_nl < thres - gap · thres under
    the nearest negative. S_ada is the grouped score with each label's proxy (see `LabelMemory.proxies`) in place of its
    text. The predicted class has the highest softmax(text logits) + weight · softmax(proxy logits), each softmax over
    ID classes and negatives together.

    A full memory replaces the picture of the highest entropy (of the softmax over the ID classes, or over the
    negatives) by one of lower entropy, as in the paper, so that a label keeps its most confident pictures, whatever
    their order. The public code intends the same, but in half precision the entropy is NaN wherever a probability
    vanishes, no comparison holds, and the first pictures stay for ever; float32 is used here. As in the public code,
    ``length`` counts the text, so that nine pictures are kept.

    The published settings, and these defaults, use 5 groups of negatives. Fewer, longer groups lower S_nl, which
    decides what is stored. Scores depend on the batches, as with every test-time method.
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
            length: slots per label, the first of which is the text's; at least 2.
            thres: S_nl that separates ID from OOD, in [0, 1].
            gap: margin around it for storing a picture, as a share of the distance to 0 and to 1, in [0, 1].
            weight: weight of S_nl in the score and of the proxies in the prediction, at least 0.
            groups: number of groups of negatives, in random order seeded 0; None for the space's own groups.

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
        """Return the number of pictures kept."""
        return len(self._id_memory) + len(self._negative_memory)

    def reset(self) -> None:
        """Forget the pictures seen so far."""
        self._id_memory = LabelMemory(self._space.class_features, self._length)
        self._negative_memory = LabelMemory(self._space.negatives, self._length)

    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Store a batch in the memory, then score it; see `Baseline.score`."""
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
        """Return ``text_logits`` with the columns of labels that have pictures recomputed from their proxies."""
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
