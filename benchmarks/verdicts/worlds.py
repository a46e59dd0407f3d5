"""The sets that verdicts are measured on: features of ID and OOD pictures, and what an MLLM says of them.

A `World` holds everything that a build or a stream needs, so that thousands of them can be replayed in a minute:

    found = sources()                       # None where the stored features are absent
    for world in standard_worlds(found):    # the 17 sets; `further_worlds` has those that took no part in any choice
        ...

`benchmarks.verdicts.states` draws streams from a world, builds on them and simulates the judge. The 17 sets are near,
far and mixed splits of CIFAR-10, Food-101 and Flickr8k in the space of ViT-B/32, two of them with class lists padded
to about 510 names, and three splits of the emoji world. The MLLM's sentence of a picture is its caption where a person
wrote one, else the name that CLIP finds nearest to it; look-alikes are recorded answers of an LLM, filled up with the
names nearest to the class. Answers are cleaned by the engine's own readers.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.answer import Rejection, clean_sentence
from ants_engine.method.class_names import ClassNames
from ants_engine.method.labels import parse_labels
from ants_engine.method.masses import Cut, IdMass, bank_masses, products
from ants_engine.method.neglabel import equal_groups, equal_sizes, mine_negative_labels
from ants_engine.method.pool import grouped_vote, log_masses
from ants_engine.settings.config import EnsSettings, VsnlSettings
from benchmarks import clip_features
from benchmarks.clip_features import CLASSES, DATA, SYNONYMS, TEXT_OF, RealFeatures, text_encoder

Kind = Literal["near", "far", "mixed"]

NEGATIVES = 1000
"""Words mined from the lexicon."""
GROUPS, MIN_GROUP = 100, 100
"""The engine's groups of the lexicon: so many, each of at least so many words."""
FOOD_TEXT_OF = {"apple pie": "pie", "omelette": "omelet", "tacos": "taco"}
FOOD_SYNONYMS = re.compile(
    r"\bpie\b|potpie|fries|guacamole|burger|ice ?cream|omelet|paella|pizza|sushi|taco", re.IGNORECASE
)
WITHOUT_TEXT = "paella"
"""The Food-101 class that no stored text names: it is never an ID class and never said."""
CIFAR_SPLITS = (
    ("airplane", "bird", "cat", "frog", "truck"),
    ("automobile", "deer", "dog", "horse", "ship"),
    ("automobile", "bird", "deer", "frog", "ship"),
)
FOOD_SPLITS = (
    ("apple pie", "french fries", "hamburger", "ice cream", "sushi"),
    ("guacamole", "omelette", "pizza", "tacos"),
    ("french fries", "ice cream", "pizza", "omelette"),
)
PADDING = 500
"""Class names without pictures that make a list long."""
FURTHER = {
    "furniture": "furniture_305.npz",
    "watches": "watches_696.npz",
    "patents": "patents_1000.npz",
    "places": "memorylens_290.npz",
    "fashion products": "fashion_products_1000.npz",
    "fashion captions": "fashion_captions_1017.npz",
}
"""Sets that took no part in any choice, and their files."""


@dataclass(frozen=True, eq=False)
class World:
    """One set: P pictures, ID ones first, and everything that would be known of them.

    Logits are cosines divided by the temperature; every score is higher for more in-distribution.
    """

    name: str
    kind: Kind
    classes: Tensor
    """(C, D) float32, L2-normalised, as all features."""
    lexicon: Tensor
    """(M, D), in the order of its groups."""
    features: Tensor
    """(P, D)."""
    ids: int
    """The first so many pictures are ID."""
    said: Tensor
    """(P,) int64: the row of ``sentences`` that the MLLM says of each picture, -1 where that is of no use."""
    sentences: Tensor
    """(K, D)."""
    similar: Mapping[int, tuple[int, ...]]
    """Class → rows of ``look_alikes``."""
    look_alikes: Tensor
    """(L, D)."""
    temperature: float = 0.01
    batch: int = 64
    """Pictures of a stream's batch."""
    id_name: str = "id"
    ood_name: str = "ood"
    """What the two sets are called in the drawing of streams."""
    texts: tuple[str, ...] = field(default=(), repr=False)
    """What the K sentences say."""

    @property
    def is_id(self) -> Tensor:
        """Return the truth (P,) bool."""
        return torch.arange(len(self.features)) < self.ids

    @cached_property
    def scaled(self) -> Tensor:
        """Return the features (P, D) divided by the temperature."""
        return self.features / self.temperature

    @cached_property
    def id_mass(self) -> IdMass:
        """Return the ID classes' part of every score of all pictures."""
        return IdMass.of(products(self.scaled, self.classes))

    @cached_property
    def lexicon_cut(self) -> Cut:
        """Return the lexicon in its groups."""
        groups = max(1, min(GROUPS, len(self.lexicon) // MIN_GROUP))
        return Cut(self.lexicon, equal_sizes(len(self.lexicon), groups))

    @cached_property
    def initial(self) -> Tensor:
        """Return S_nl (P,)."""
        return self.id_mass.score(self._lexicon_masses)

    @cached_property
    def initial_vote(self) -> Tensor:
        """Return z_L (P,)."""
        logs = log_masses(self.scaled, self.lexicon_cut, self.id_mass.top, self._lexicon_masses)
        return grouped_vote(self.id_mass, logs)

    @cached_property
    def one_group(self) -> Tensor:
        """Return NegLabel's score (P,) with the whole lexicon in one softmax."""
        return self.id_mass.score(self._lexicon_masses.sum(dim=1, keepdim=True))

    @cached_property
    def _lexicon_masses(self) -> Tensor:
        return bank_masses(self.scaled, self.lexicon_cut, self.id_mass.top)[0]


@dataclass(frozen=True, eq=False)
class Shown:
    """n pictures as they go into a world."""

    features: Tensor
    captions: Sequence[str | None]
    """What was written of each; None where nothing was."""
    written: Mapping[str, Tensor] = field(default_factory=dict)
    """Caption → its feature (D,), where it is not among the stored texts."""


@dataclass(frozen=True, eq=False)
class Sources:
    """The stored features."""

    real: RealFeatures
    food: Tensor
    food_labels: NDArray[np.int64]
    food_names: tuple[str, ...]
    names: tuple[str, ...]
    """Names of things, in small letters; those of ID classes are among them."""
    recorded: Mapping[str, Sequence[str]]
    """CIFAR-10 class → the look-alikes that an LLM once answered."""
    folder: Path
    emoji: Path | None
    other_food: bool
    """Whether the Food-101 pictures are other ones than usual: then only sets that hold some are of interest."""

    def text(self, name: str) -> Tensor:
        """Return the feature (D,) of a text or class name."""
        said = TEXT_OF.get(name, FOOD_TEXT_OF.get(name, name))
        return torch.from_numpy(self.real.texts[said.casefold()])

    def cifar(self, classes: Sequence[str] = CLASSES) -> Shown:
        """Return the CIFAR-10 pictures of these classes."""
        kept = np.isin(self.real.cifar.labels, [CLASSES.index(name) for name in classes])
        return Shown(self.real.cifar.features[torch.from_numpy(kept)], [None] * int(kept.sum()))

    def food_of(self, classes: Sequence[str] | None = None) -> Shown:
        """Return the Food-101 pictures of these classes, all when left out."""
        names = self.food_names if classes is None else classes
        kept = np.isin(self.food_labels, [self.food_names.index(name) for name in names])
        return Shown(self.food[torch.from_numpy(kept)], [None] * int(kept.sum()))

    def flickr(self) -> Shown:
        """Return the Flickr8k pictures that show no CIFAR-10 class, with their first captions."""
        numbers = self.real.flickr.numbers.tolist()
        return Shown(self.real.flickr.features, [self.real.captions[number].casefold() for number in numbers])

    @property
    def food_classes(self) -> tuple[str, ...]:
        """Return the Food-101 classes that a stored text names."""
        return tuple(name for name in self.food_names if name != WITHOUT_TEXT)


def sources(data: Path = DATA, food: Path | None = None) -> Sources | None:
    """Read the stored features.

    Args:
        data: the folder of data that lies beside the project.
        food: pictures in place of its Food-101 ones; the same keys.

    Returns:
        None where they are absent.

    Raises:
        FileNotFoundError: ``food`` is given and not there.
    """
    folder = data / "clip_vitb32"
    if not folder.is_dir():
        return None
    with np.load(food or folder / "food10_500.npz") as archive:
        features, labels = _unit(archive["image_features"]), archive["labels"].astype(np.int64)
        food_names = tuple(str(name) for name in archive["class_names"])
    with np.load(folder / "texts.npz") as archive:
        said = zip(archive["texts"].tolist(), archive["source"].tolist(), strict=True)
        names = dict.fromkeys(text.casefold() for text, source in said if source != "flickr8k-caption")
    recorded = json.loads((data / "llm_labels" / "near3_cifar10_gpt-3.5-turbo-16k_0.json").read_text())
    emoji = data.parent / "research" / "emoji.npz"
    return Sources(
        real=clip_features.load(data),
        food=features,
        food_labels=labels,
        food_names=food_names,
        names=tuple(names),
        recorded=recorded,
        folder=folder,
        emoji=emoji if emoji.exists() else None,
        other_food=food is not None,
    )


def standard_worlds(found: Sources) -> list[World]:
    """Return the 17 sets; with other Food-101 pictures the nine that hold some."""
    made = [*near_worlds(found), *far_worlds(found), *mixed_worlds(found), *long_worlds(found)]
    if found.other_food:
        return [world for world in made if "food" in world.name]
    return made + (emoji_worlds(found.emoji) if found.emoji else [])


def near_worlds(found: Sources) -> Iterator[World]:
    """Yield splits of one set's classes: half of them ID, the other half OOD, which an MLLM may name."""
    for letter, split in zip("abc", CIFAR_SPLITS, strict=True):
        if not found.other_food:
            others = [name for name in CLASSES if name not in split]
            yield _cifar_world(found, f"cifar5{letter}|other5", "near", split, [found.cifar(others)], others)
    for letter, food in zip("abc", FOOD_SPLITS, strict=True):
        others = [name for name in found.food_names if name not in food]
        yield _food_world(found, f"food{letter}|other", "near", food, [found.food_of(others)], others)


def far_worlds(found: Sources) -> Iterator[World]:
    """Yield sets whose OOD pictures are of another kind altogether."""
    yield _cifar_world(found, "cifar10|flickr", "far", CLASSES, [found.flickr()], ood_name="flickr8k")
    yield _cifar_world(found, "cifar10|food", "far", CLASSES, [found.food_of()], ood_name="food101")
    yield _food_world(found, "food9|cifar", "far", found.food_classes, [found.cifar()])
    yield _food_world(found, "food9|flickr", "far", found.food_classes, [found.flickr()])


def mixed_worlds(found: Sources) -> Iterator[World]:
    """Yield sets with near and far OOD pictures."""
    split = CIFAR_SPLITS[0]
    others = [name for name in CLASSES if name not in split]
    if not found.other_food:
        oods = [found.cifar(others), found.flickr(), found.food_of()]
        yield _cifar_world(found, "cifar5|other5+flickr+food", "mixed", split, oods, others)
    split = FOOD_SPLITS[0]
    others = [name for name in found.food_names if name not in split]
    yield _food_world(found, "food5|other5+cifar", "mixed", split, [found.food_of(others), found.cifar()], others)


def long_worlds(found: Sources) -> Iterator[World]:
    """Yield far sets with 500 more class names, none of which is among the five nearest to any OOD picture."""
    random = np.random.default_rng(3)
    texts = torch.stack([found.text(name) for name in found.names])

    def padding(pictures: Tensor) -> list[str]:
        near = set((pictures @ texts.T).topk(5, dim=1).indices.flatten().tolist())
        free = [
            name
            for row, name in enumerate(found.names)
            if row not in near and not FOOD_SYNONYMS.search(name) and not SYNONYMS.search(name)
        ]
        return [free[place] for place in random.permutation(len(free))[:PADDING].tolist()]

    more = padding(found.food)
    yield _cifar_world(found, "cifar510|food", "far", CLASSES, [found.food_of()], padding=more)
    more = padding(found.real.cifar.features)
    yield _food_world(found, "food509|cifar", "far", found.food_classes, [found.cifar()], padding=more)


def emoji_worlds(path: Path) -> list[World]:
    """Return the three sets of the emoji world, as its own MLLM answered."""
    with np.load(path) as archive:
        stored = {name: archive[name] for name in archive.files}
    similar: dict[int, tuple[int, ...]] = {}
    for row, label in stored["vs_class"].tolist():
        similar[row] = (*similar.get(row, ()), label)
    worlds = []
    kinds: tuple[tuple[str, Kind, list[str]], ...] = (
        ("near", "near", ["near"]),
        ("far", "far", ["far"]),
        ("both", "mixed", ["near", "far"]),
    )
    for name, kind, parts in kinds:
        worlds.append(
            World(
                name=f"emoji|{name}",
                kind=kind,
                classes=torch.from_numpy(stored["class_features"]),
                lexicon=torch.from_numpy(stored["neg"]),
                features=torch.from_numpy(np.concatenate([stored[f"{part}_x"] for part in ["id", *parts]])),
                ids=len(stored["id_x"]),
                said=torch.from_numpy(np.concatenate([stored[f"{part}_cap"] for part in ["id", *parts]])),
                sentences=torch.from_numpy(stored["cap_feat"]),
                similar=similar,
                look_alikes=torch.from_numpy(stored["vs_feat"]),
                temperature=float(stored["tau"]),
                batch=256,
                ood_name=kind,
                texts=tuple(map(str, stored["cap_texts"])),
            )
        )
    return worlds


def further_worlds(found: Sources, more: Mapping[str, Path] | None = None) -> Iterator[World]:
    """Yield each of the six further sets, and ``more``, as far-OOD for CIFAR-10 and for nine Food-101 classes.

    Args:
        found: the stored features.
        more: name → a file with ``image_features`` (n, 512), and perhaps ``captions`` with ``caption_features``.

    Raises:
        FileNotFoundError: a file is missing.
    """
    files = {name: found.folder / file for name, file in FURTHER.items()} | dict(more or {})
    for name, path in files.items():
        oods = _shown(path)
        yield _cifar_world(found, f"cifar10|{name}", "far", CLASSES, [oods], ood_name=name)
        yield _food_world(found, f"food9|{name}", "far", found.food_classes, [oods], ood_name=name)


def _shown(path: Path) -> Shown:
    """Read pictures, with their captions or titles where the features of these are stored, too."""
    with np.load(path) as archive:
        features = _unit(archive["image_features"])
        for said in ("caption", "title"):
            if f"{said}_features" in archive:
                captions = [str(text).casefold() for text in archive[f"{said}s"]]
                return Shown(features, captions, dict(zip(captions, _unit(archive[f"{said}_features"]), strict=True)))
    return Shown(features, [None] * len(features))


def _cifar_world(
    found: Sources,
    name: str,
    kind: Kind,
    classes: Sequence[str],
    oods: Sequence[Shown],
    near: Sequence[str] = (),
    *,
    padding: Sequence[str] = (),
    ood_name: str | None = None,
) -> World:
    ids, own = found.cifar(classes), (*classes, *padding)
    return _world(found, name, kind, own, ids, oods, near, synonyms=SYNONYMS, ood_name=ood_name or _ood_name(name))


def _food_world(
    found: Sources,
    name: str,
    kind: Kind,
    classes: Sequence[str],
    oods: Sequence[Shown],
    near: Sequence[str] = (),
    *,
    padding: Sequence[str] = (),
    ood_name: str | None = None,
) -> World:
    ids, own = found.food_of(classes), (*classes, *padding)
    said = [other for other in near if other != WITHOUT_TEXT]
    return _world(found, name, kind, own, ids, oods, said, synonyms=FOOD_SYNONYMS, ood_name=ood_name or name)


def _ood_name(name: str) -> str:
    # three streams are drawn under this name, as they were first measured
    return "cifar5-other" if name.endswith("|other5") else name


def _world(
    found: Sources,
    name: str,
    kind: Kind,
    classes: Sequence[str],
    ids: Shown,
    oods: Sequence[Shown],
    near: Sequence[str],
    *,
    synonyms: re.Pattern[str],
    ood_name: str,
) -> World:
    """Put a world together; ``near`` are true names of near-OOD things, which the MLLM may say."""
    banned = {TEXT_OF.get(one, FOOD_TEXT_OF.get(one, one)).casefold() for one in classes}
    banned |= {one.casefold() for one in classes}
    words = [word for word in found.names if not synonyms.search(word) and word not in banned]
    sayable = [*words, *near]
    say = torch.stack([found.text(word) for word in sayable])
    class_features = torch.stack([found.text(one) for one in classes])
    lexicon = say[: len(words)][mine_negative_labels(say[: len(words)], class_features, NEGATIVES)]
    order = equal_groups(len(lexicon), max(1, min(GROUPS, len(lexicon) // MIN_GROUP)), 0).order

    features = torch.cat([part.features for part in (ids, *oods)])
    captions = [caption for part in (ids, *oods) for caption in part.captions]
    nearest = (features @ say.T).argmax(dim=1).tolist()
    said = [caption or sayable[row] for caption, row in zip(captions, nearest, strict=True)]
    written = {text: feature for part in oods for text, feature in part.written.items()}
    texts = list(dict.fromkeys(said))
    row_of = {text: row for row, text in enumerate(texts)}
    names = ClassNames(classes)
    useful = [_is_sentence(text, names) for text in texts]

    closest = torch.argsort(class_features @ say.T, descending=True, stable=True)[:, :8].tolist()
    labels = {
        row: _look_alikes(found, one, names, banned, [sayable[place] for place in near_by])
        for row, (one, near_by) in enumerate(zip(classes, closest, strict=True))
    }
    alike = list(dict.fromkeys(label.casefold() for own in labels.values() for label in own))
    alike_row = {label: row for row, label in enumerate(alike)}
    encode = text_encoder(found.real)
    return World(
        name=name,
        kind=kind,
        classes=class_features,
        lexicon=lexicon if order is None else lexicon[order],
        features=features,
        ids=len(ids.features),
        said=torch.tensor([row_of[text] if useful[row_of[text]] else -1 for text in said]),
        sentences=torch.stack([written[text] if text in written else found.text(text) for text in texts]),
        similar={row: tuple(alike_row[label.casefold()] for label in own) for row, own in labels.items()},
        look_alikes=torch.from_numpy(encode([FOOD_TEXT_OF.get(label, label) for label in alike])),
        ood_name=ood_name,
        texts=tuple(texts),
    )


def _is_sentence(text: str, names: ClassNames) -> bool:
    cleaned = clean_sentence(text, 3 * EnsSettings().max_words)
    return not isinstance(cleaned, Rejection) and names.find(cleaned) is None


def _look_alikes(
    found: Sources, name: str, names: ClassNames, banned: set[str], nearest: Sequence[str]
) -> tuple[str, ...]:
    """Return what is read out of an LLM's list of look-alikes of one class."""
    known = [label for label in found.recorded.get(name, []) if label.casefold() in found.real.texts]
    listed = list(dict.fromkeys([*(label for label in known if label.casefold() not in banned), *nearest]))[:5]
    answer = "\n".join(f"{place}. {label}" for place, label in enumerate(listed, 1))
    return parse_labels(answer, VsnlSettings().labels_per_class, asked=name, class_names=names).labels


def _unit(features: NDArray[np.float16]) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(features.astype(np.float32)), dim=1)
