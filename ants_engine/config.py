"""Every setting, one frozen pydantic model per stage. `ants_engine.settings_loader` merges the sources."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat, PositiveInt


def _one_slot(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError("needs {} exactly once, where the name goes")
    return template


NameTemplate = Annotated[str, AfterValidator(_one_slot)]
"""A text with one ``{}``."""


class Stage(BaseModel):
    """Base of all settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), validate_default=True)


class ClipSettings(Stage):
    """The CLIP model that scores pictures and texts."""

    model: str = "ViT-B-16-quickgelu"
    """An open_clip model name; or a folder in open_clip's local-dir form, written as a path (``./clip``)."""
    pretrained: str | None = "openai"
    """An open_clip weights tag, or a weights file as a path. Not used with a folder."""
    device: str = "auto"
    """``auto`` (CUDA, then MPS, then CPU) or a torch device string."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """``auto``: fp32 on the CPU, fp16 on an accelerator. Features are always returned in float32."""
    batch_size: PositiveInt = 64
    """Pictures encoded together."""
    text_batch_size: PositiveInt = 256
    """Texts encoded together."""
    cache_dir: Path | None = None
    """Where hub weights are kept; open_clip's default when empty."""


class ImageSettings(Stage):
    """Which pictures are accepted."""

    max_pixels: PositiveInt = 100_000_000
    """Pictures with more pixels are refused before they are decoded."""
    max_bytes: PositiveInt = 100_000_000
    """Files larger than this are refused unread."""
    on_error: Literal["skip", "raise"] = "skip"
    """``skip`` sets an unusable picture aside and reports it; ``raise`` ends the run."""
    decode_threads: PositiveInt = 2
    """Threads that decode ahead of CLIP."""


class TextSettings(Stage):
    """How names become CLIP prompts. ``{}`` is the name."""

    class_template: NameTemplate = "The nice {}."
    """For ID classes, look-alikes and nouns of the lexicon (NegLabel's template)."""
    adjective_template: NameTemplate = "This is a {} photo."
    """For adjectives of the lexicon."""
    feature_cache: Path | None = Path(".ants/features")
    """Where the lexicon's features are kept, so that it is encoded once per CLIP model; nowhere when empty."""


class LexiconSettings(Stage):
    """Candidates for the initial negative labels (stage 1)."""

    source: str = "wordnet"
    """``wordnet`` (ships with the package) or a file as a path: ``word<TAB>noun|adjective`` a line, ``.gz`` allowed."""


class NegLabelSettings(Stage):
    """Stage 1, the initial detector (NegLabel, ICLR 2024)."""

    count: PositiveInt = 10_000
    """M: negatives kept, at most the lexicon's size."""
    percentile: float = Field(default=0.95, ge=0.0, le=1.0)
    """A candidate's nearness is this quantile of its cosines to the ID classes."""
    groups: PositiveInt = 100
    """G: the score is averaged over so many groups of negatives."""
    min_group_length: PositiveInt = 100
    """Fewer groups, down to one, rather than shorter ones than this (the paper's 10,000 / 100): gamma is meant for a
    score against so many negatives, and a short lexicon in 100 groups would make everything look known."""


class MiningSettings(Stage):
    """Stage 2, negative images (paper eq. 5, 6)."""

    gamma: float = Field(default=0.9, ge=0.0, le=1.0)
    """Pictures with an initial score below this are candidates."""
    eta: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the candidates, lowest first, that become negative images."""
    max_images: PositiveInt | None = None
    """An upper bound on the negative images, lowest scores first: it bounds what the MLLM is asked."""


class EnsSettings(Stage):
    """Stage 3, expressive negative sentences (paper eq. 7, 8)."""

    template: str = "ens/v1"
    """Prompt template, ``<task>/v<N>``."""
    max_words: PositiveInt = 8
    """The MLLM is asked for fewer words than this; an answer is cut at three times as many."""
    bank_size: PositiveInt = 10_000
    """Sentences kept."""
    drop_id_names: bool = True
    """Set aside a sentence that names an ID class: it would score that class as foreign."""
    max_new_tokens: PositiveInt = 64
    """Length limit of one answer."""


class VsnlSettings(Stage):
    """Stages 4 and 5, visually similar negative labels (paper eq. 10 to 12)."""

    template: str = "vsnl/v1"
    """Prompt template, ``<task>/v<N>``."""
    delta: float = Field(default=0.08, gt=0.0, le=1.0)
    """Share of the ID classes, most similar first, whose look-alikes are asked for."""
    min_classes: PositiveInt = 80
    """Never fewer classes than this (all, if there are fewer): the paper's share of its 1,000 classes."""
    labels_per_class: PositiveInt = 5
    """Look-alikes asked for per class."""
    max_new_tokens: PositiveInt = 160
    """Length limit of one answer."""


class ScoringSettings(Stage):
    """How features become scores."""

    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Softmax temperature tau; ``auto`` is 1 / the model's learned logit scale (0.01 for OpenAI's CLIP)."""
    weight: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["adaptive"] = "adaptive"
    """Lambda, the share of ``ens_score`` in ``id_score``: paper eq. 14, or a fixed number in [0, 1]."""
    threshold: FiniteFloat | Literal["auto"] = "auto"
    """Below this ``id_score`` a picture is called an outlier; ``auto`` splits the history's scores in two (Otsu)."""


class MLLMSettings(BaseModel):
    """Which multimodal LLM is asked. Further keys belong to the backend, which validates them."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    backend: str = "huggingface"
    """An installed backend: ``huggingface``, ``openai``, ``scripted`` or another package's."""
    image_max_side: PositiveInt = 448
    """Pictures are shrunk to this longest side (pixels) before they are shown."""


class DispatchSettings(Stage):
    """How the MLLM is asked."""

    mode: Literal["live", "record", "replay"] = "record"
    """``record`` reads the store, else asks and stores; ``replay`` only reads; ``live`` neither reads nor stores."""
    store: Path = Path(".ants/store")
    """The response store's folder."""
    max_concurrency: PositiveInt | None = None
    """Requests in flight; the backend's own figure when empty."""
    attempts: PositiveInt = 5
    """Tries per request, the first one counted."""
    attempt_timeout: PositiveFloat = 120.0
    """Seconds for one try at a server. A model that runs here takes the time that it takes."""
    deadline: PositiveFloat = 600.0
    """Seconds for one request with all its tries and waits."""
    min_success: float = Field(default=0.8, ge=0.0, le=1.0)
    """Share of each task's requests that must be answered for a detector to be built."""


class PromptSettings(Stage):
    """Where prompt templates come from."""

    folder: Path | None = None
    """A folder ``<task>/v<N>.toml`` that takes precedence over the package's own."""


class ProgressSettings(Stage):
    """What is shown while it runs."""

    bar: Literal["auto", "on", "off"] = "auto"
    """``auto`` shows a bar on a terminal only."""


class Settings(Stage):
    """All settings of an engine."""

    preset: Literal["paper"] = "paper"
    """The values that everything else starts from."""
    seed: int = 0
    """Seeds the order of the negatives' groups."""
    clip: ClipSettings = ClipSettings()
    pictures: ImageSettings = ImageSettings()
    text: TextSettings = TextSettings()
    lexicon: LexiconSettings = LexiconSettings()
    neglabel: NegLabelSettings = NegLabelSettings()
    mining: MiningSettings = MiningSettings()
    ens: EnsSettings = EnsSettings()
    vsnl: VsnlSettings = VsnlSettings()
    scoring: ScoringSettings = ScoringSettings()
    mllm: MLLMSettings = MLLMSettings()
    dispatch: DispatchSettings = DispatchSettings()
    prompts: PromptSettings = PromptSettings()
    progress: ProgressSettings = ProgressSettings()
