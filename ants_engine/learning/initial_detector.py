"""Stage 1: the detector that is there before the first picture: ID classes and negatives mined from the lexicon."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ants_engine.clip.feature_store import TextFeatureCache
from ants_engine.clip.worker import ClipWorker
from ants_engine.common.progress import ProgressCallback, ProgressEvent
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.errors import LexiconError
from ants_engine.learning.report import BuildReport
from ants_engine.lexicon.lexicon import Lexicon, load_lexicon
from ants_engine.method.grouping import equal_groups
from ants_engine.method.neglabel import mine_negative_labels, public_negative_labels
from ants_engine.settings.config import Settings

UNDECIDED = 0.5


class InitialDetector:
    """Makes the detector of stage 1 (NegLabel, ICLR 2024)."""

    def __init__(
        self,
        classes: ClassList,
        settings: Settings,
        worker: ClipWorker,
        report: BuildReport,
        progress: ProgressCallback,
    ) -> None:
        self._classes = classes
        self._settings = settings
        self._worker = worker
        self._report = report
        self._progress = progress

    async def class_features(self) -> Tensor:
        """Return (C, D): per class the renormalised mean of its prompts' features.

        Raises:
            ClassListError: a class text is longer than CLIP's text context.
        """
        self._classes.check_length(self._worker.encoder.fits)
        texts = [text for prompts in self._classes.prompts for text in prompts]
        features = await self._worker.encode_texts(texts)
        per_class = torch.split(features, [len(prompts) for prompts in self._classes.prompts])
        means = torch.stack([rows.mean(dim=0) for rows in per_class])
        return torch.nn.functional.normalize(means, dim=1)

    async def finish(self, class_features: Tensor) -> Detector:
        """Return the detector: empty ENS and VSNL banks, nothing decided yet.

        Raises:
            LexiconError: the lexicon cannot be read, or holds nothing but ID class names.
        """
        source = self._settings.lexicon.source
        whole = await asyncio.to_thread(load_lexicon, source)
        aliases = self._settings.lexicon.id_names == "aliases"
        lexicon = await asyncio.to_thread(whole.without, self._classes.names, aliases=aliases)
        self._report.lexicon_sha256 = lexicon.sha256
        initial = await self._initial_bank(whole, lexicon, class_features)
        encoder = self._worker.encoder
        return untaught_detector(
            self._classes, class_features, initial, self._settings, encoder.logit_scale, encoder.identity
        )

    async def _initial_bank(self, whole: Lexicon, lexicon: Lexicon, class_features: Tensor) -> NegativeBank:
        if not lexicon.words:
            raise LexiconError("every word of the lexicon is an ID class name; set lexicon.source to another file")
        text, neglabel = self._settings.text, self._settings.neglabel
        by_kind = {"noun": self._classes.template, "adjective": text.adjective_template}
        # one list whatever the classes, so that it is encoded once; features from elsewhere need not have every word
        encoded = whole if self._worker.encoder.text_batches_sha256 else lexicon
        texts = [by_kind[kind].replace("{}", word) for word, kind in zip(encoded.words, encoded.kinds, strict=True)]
        features = await self._worker.encode_texts(
            texts,
            lambda done: self._progress(ProgressEvent("lexicon", done, len(texts))),
            cache=TextFeatureCache(text.feature_cache),
        )
        self._progress(ProgressEvent("lexicon", len(texts), len(texts)))
        if len(encoded) != len(lexicon):
            kept = set(lexicon.words)
            features = features[[row for row, word in enumerate(encoded.words) if word in kept]]
        # seconds of arithmetic for a large lexicon and many classes must not hold up the questions
        mined: Callable[..., Tensor] = mine_negative_labels
        if neglabel.selection == "reference":
            mined = partial(public_negative_labels, order=("adjective", "noun"))
        rows = await asyncio.to_thread(
            mined, features, class_features, count=neglabel.count, percentile=neglabel.percentile, kinds=lexicon.kinds
        )
        source = Path(self._settings.lexicon.source).name
        words = tuple(lexicon.words[row] for row in rows.tolist())
        return in_group_order(
            NegativeBank("neglabel", words, (source,) * len(words), features[rows].contiguous()), self._settings
        )


def in_group_order(bank: NegativeBank, settings: Settings) -> NegativeBank:
    """Put the initial negatives into the order of their groups, so that scoring cuts them without a copy."""
    order = _group_order(len(bank), settings.neglabel.grouping, settings.seed)
    return bank if order is None else _rows(bank, order)


def in_own_order(bank: NegativeBank, grouping: str, seed: int) -> NegativeBank:
    """Undo `in_group_order` for the grouping and the seed that it was done with."""
    order = _group_order(len(bank), grouping, seed)
    return bank if order is None else _rows(bank, torch.argsort(order))


def _group_order(count: int, grouping: str, seed: int) -> Tensor | None:
    # how many groups there are does not matter to their order
    return equal_groups(count, 1, seed).order if grouping == "equal" else None


def _rows(bank: NegativeBank, order: Tensor) -> NegativeBank:
    rows = order.tolist()
    texts, sources = tuple(bank.texts[row] for row in rows), tuple(bank.sources[row] for row in rows)
    return NegativeBank(bank.kind, texts, sources, bank.features[order].contiguous())


def fusion_of(in_score: str) -> Literal["adaptive", "union", "pool"]:
    """Return how a detector fuses its banks under a setting of ``scoring.in_score``."""
    match in_score:
        case "union" | "pool":
            return in_score
    # the paper's rule, with a lambda of 1 or 0 where one bank alone counts
    return "adaptive"


def group_count(negatives: int, settings: Settings) -> int:
    """Return into how many groups so many initial negatives are cut."""
    neglabel = settings.neglabel
    return max(1, min(neglabel.groups, negatives // neglabel.min_group_length))


def untaught_detector(
    classes: ClassList,
    class_features: Tensor,
    initial: NegativeBank,
    settings: Settings,
    logit_scale: float,
    clip_identity: Mapping[str, Any],
) -> Detector:
    """Put a detector together that has seen no picture.

    Args:
        classes: C ID classes.
        class_features: (C, D) float32, L2-normalised.
        initial: the negatives, in the order in which they are cut into groups.
        settings: temperature, groups, seed.
        logit_scale: 1 / temperature, where the settings leave it to the model.
        clip_identity: which CLIP the features are of.
    """
    scoring = settings.scoring
    dim = class_features.shape[1]
    return Detector(
        classes=classes,
        class_features=class_features,
        initial=initial,
        ens=NegativeBank.empty("ens", dim),
        vsnl=NegativeBank.empty("vsnl", dim),
        temperature=1.0 / logit_scale if scoring.temperature == "auto" else scoring.temperature,
        groups=group_count(len(initial), settings),
        seed=settings.seed,
        weight=UNDECIDED,
        threshold=UNDECIDED,
        clip_identity=clip_identity,
        group_length=scoring.group_length,
        grouping=settings.neglabel.grouping,
        permute=scoring.random_permute,
        fusion=fusion_of(scoring.in_score),
    )
