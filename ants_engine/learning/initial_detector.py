"""Stage 1: the detector that is there before the first picture: ID classes and negatives mined from the lexicon."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ants_engine.clip.encoding import Encoder, GivenEncoder, TextSource
from ants_engine.clip.feature_store import TextFeatureCache
from ants_engine.clip.worker import ClipWorker
from ants_engine.common.features import as_tensor, check_features
from ants_engine.common.progress import ProgressCallback, ProgressEvent
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.errors import FeatureError, LexiconError
from ants_engine.learning.preflight import load_templates
from ants_engine.learning.report import BuildReport
from ants_engine.lexicon.lexicon import load_lexicon
from ants_engine.method.grouping import equal_groups
from ants_engine.method.neglabel import mine_negative_labels, public_negative_labels
from ants_engine.settings.config import Settings

UNDECIDED = 0.5


async def class_features(classes: ClassList, worker: ClipWorker) -> Tensor:
    """Return (C, D): per class the renormalised mean of its prompts' features.

    Raises:
        ClassListError: a class text is longer than CLIP's text context.
    """
    classes.check_length(worker.encoder.fits)
    features = await worker.encode_texts([text for prompts in classes.prompts for text in prompts])
    per_class = torch.split(features, [len(prompts) for prompts in classes.prompts])
    return torch.nn.functional.normalize(torch.stack([rows.mean(dim=0) for rows in per_class]), dim=1)


async def initial_detector(
    classes: ClassList,
    class_features: Tensor,
    settings: Settings,
    worker: ClipWorker,
    report: BuildReport,
    progress: ProgressCallback,
) -> Detector:
    """Return the detector of stage 1 (NegLabel, ICLR 2024): empty ENS and VSNL banks, nothing decided yet.

    Raises:
        LexiconError: the lexicon cannot be read, or holds nothing but ID class names.
    """
    text, neglabel, encoder = settings.text, settings.neglabel, worker.encoder
    whole = await asyncio.to_thread(load_lexicon, settings.lexicon.source)
    aliases = settings.lexicon.id_names == "aliases"
    lexicon = await asyncio.to_thread(whole.without, classes.names, aliases=aliases)
    report.lexicon_sha256 = lexicon.sha256
    if not lexicon.words:
        raise LexiconError("every word of the lexicon is an ID class name; set lexicon.source to another file")
    by_kind = {"noun": classes.template, "adjective": text.adjective_template}
    # one list whatever the classes, so that it is encoded once; features from elsewhere need not have every word
    encoded = whole if encoder.text_batches_sha256 else lexicon
    texts = [by_kind[kind].replace("{}", word) for word, kind in zip(encoded.words, encoded.kinds, strict=True)]
    features = await worker.encode_texts(
        texts,
        lambda done: progress(ProgressEvent("lexicon", done, len(texts))),
        cache=TextFeatureCache(text.feature_cache),
    )
    progress(ProgressEvent("lexicon", len(texts), len(texts)))
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
    source = Path(settings.lexicon.source).name
    words = tuple(lexicon.words[row] for row in rows.tolist())
    bank = NegativeBank("neglabel", words, (source,) * len(words), features[rows].contiguous())
    initial = in_group_order(bank, settings)
    return untaught_detector(classes, class_features, initial, settings, encoder.logit_scale, encoder.identity)


async def cold_detector(
    classes: ClassList,
    settings: Settings,
    load: Callable[[ProgressCallback], Awaitable[Encoder]],
    report: BuildReport,
    progress: ProgressCallback,
) -> tuple[Detector, Encoder]:
    """Return the detector of stage 1 and its CLIP; no MLLM is there.

    Args:
        classes: the ID classes.
        settings: everything about them.
        load: returns CLIP.
        report: filled on the way.
        progress: told of every step.
    """
    report.templates = load_templates(settings).sha256s
    encoder = await load(progress)
    async with ClipWorker(encoder, settings.text.feature_cache) as worker:
        features = await class_features(classes, worker)
        return await initial_detector(classes, features, settings, worker, report, progress), encoder


def given_detector(
    classes: ClassList,
    class_features: Any,
    negative_features: Any,
    negative_texts: Sequence[str] | None,
    text_encoder: TextSource | Encoder | None,
    logit_scale: float,
    settings: Settings,
) -> tuple[Detector, Encoder]:
    """Return the detector of stage 1 from features that another program computed; see `ANTS.from_features`.

    Raises:
        FeatureError: features do not fit each other, the classes or the texts.
    """
    wide = as_tensor(class_features)
    if wide.ndim != 2 or len(wide) != len(classes):
        raise FeatureError(f"class_features have shape {tuple(wide.shape)} for {len(classes)} classes: (C, D) wanted")
    dim = int(wide.shape[1])
    initial = check_features(negative_features, dim)
    texts = tuple(negative_texts if negative_texts is not None else (f"negative {i}" for i in range(len(initial))))
    if len(texts) != len(initial):
        raise FeatureError(f"{len(texts)} negative_texts for {len(initial)} negative_features")
    if hasattr(text_encoder, "encode_texts"):
        encoder = cast("Encoder", text_encoder)
        if encoder.dim != dim:
            raise FeatureError(f"class_features are {dim} wide, and text_encoder gives features of {encoder.dim}")
    else:
        source: TextSource = {} if text_encoder is None else text_encoder
        encoder = GivenEncoder(source, dim, logit_scale=logit_scale)
    bank = in_group_order(NegativeBank("neglabel", texts, ("given",) * len(texts), initial), settings)
    features = check_features(wide, dim)
    return untaught_detector(classes, features, bank, settings, encoder.logit_scale, encoder.identity), encoder


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
