"""Every setting, one frozen pydantic model per stage. `ants_engine.settings.loader` merges the sources."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)


def _one_slot(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError("needs {} exactly once, where the name goes")
    return template


NameTemplate = Annotated[str, AfterValidator(_one_slot)]
"""A text with one ``{}``."""


THRESHOLD_SLACK = 0.01
Threshold = Annotated[float, Field(ge=-THRESHOLD_SLACK, le=1.0 + THRESHOLD_SLACK, allow_inf_nan=False)]
"""What an ``id_score`` is compared with. Scores lie in [0, 1]; just outside, nothing or everything is unknown."""


class Stage(BaseModel):
    """Base of all settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what Python counts as 1 or 0 where no truth value is meant."""
        if isinstance(value, bool):
            wanted = cls.model_fields[str(info.field_name)].annotation
            if bool not in (wanted, *get_args(wanted)):
                raise ValueError("Input should not be true or false")
        return value


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
    """Pictures encoded together. On the CPU it changes no bit; on an accelerator, and for a compiled tower, batches are
    filled up to it, and another one may change the last bits."""
    text_batch_size: PositiveInt = 256
    """Texts encoded together; what is said of ``batch_size`` holds for it too."""
    compile: bool = False
    """Compile the vision tower with ``torch.compile``: the first batch takes up to minutes, later ones less time on a
    GPU. Features differ in the last bits from those of a model that is not compiled."""
    cache_dir: Path | None = None
    """Where hub weights are kept; open_clip's default when empty."""
    feature_store: Path | None = None
    """Where the features of picture files are kept, so that a second run over the same files encodes none of them;
    nowhere when empty. What is read back has the bits that encoding gives."""


class ImageSettings(Stage):
    """Which pictures are accepted."""

    max_pixels: PositiveInt = 100_000_000
    """Pictures with more pixels are refused before they are decoded."""
    max_bytes: PositiveInt = 100_000_000
    """Files larger than this are refused unread."""
    on_error: Literal["skip", "raise"] = "skip"
    """``skip`` sets an unusable picture aside and reports it; ``raise`` ends the run."""
    decode_threads: PositiveInt = 2
    """Threads that decode ahead of CLIP; they fetch too, where that is allowed."""
    urls: Literal["refuse", "allow"] = "refuse"
    """Whether pictures may be given as http(s) addresses and are then fetched, ``max_bytes`` at most."""
    url_timeout: PositiveFloat = 20.0
    """Seconds for fetching one picture, from resolving its host's name to the last byte, redirects included."""
    url_hosts: tuple[str, ...] = ()
    """Hosts that may be on this machine or in a private network; all others have to be on the public internet."""


class TextSettings(Stage):
    """How names become CLIP prompts. ``{}`` is the name."""

    class_template: NameTemplate = "The nice {}."
    """For ID classes, look-alikes and nouns of the lexicon (NegLabel's template)."""
    adjective_template: NameTemplate = "This is a {} photo."
    """For adjectives of the lexicon."""
    feature_cache: Path | None = Path(".ants/features")
    """Where the features of texts are kept, so that a lexicon is encoded once per CLIP model, and sentences and
    look-alikes that come again in the same lists not a second time; nowhere when empty."""


class LexiconSettings(Stage):
    """Candidates for the initial negative labels (stage 1)."""

    source: str = "wordnet"
    """``wordnet`` (ships with the package) or a file as a path: ``word<TAB>noun|adjective`` a line, ``.gz`` allowed."""
    id_names: Literal["aliases", "exact"] = "aliases"
    """Which words are left out as names of ID classes. ``aliases``: every name that a class has, singular or plural
    (``lion, king of beasts``: both; ``bald eagle``: also ``eagle``). ``exact``: whole names only."""


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
    grouping: Literal["equal", "reference"] = "equal"
    """``equal``: ``groups`` groups, nothing dropped. ``reference``: the public code's, of ``scoring.group_length``; the
    remainder is dropped before the rest is permuted."""
    selection: Literal["engine", "reference"] = "engine"
    """``engine``: nearness is interpolated, and nouns and adjectives share by largest remainders, least near first.
    ``reference``: the public code's: the sorted cosine at ``int(percentile · C)``, adjectives first, their share
    rounded down."""


class MiningSettings(Stage):
    """Stage 2, negative images (paper eq. 5, 6)."""

    gamma: float = Field(default=0.9, ge=0.0, le=1.0)
    """Pictures with an initial score below this are candidates."""
    eta: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the candidates, lowest first, that become negative images."""
    max_images: PositiveInt | None = None
    """An upper bound on the negative images, lowest scores first: it bounds what the MLLM is asked."""
    same_picture: float | None = Field(default=None, gt=0.0, le=1.0)
    """With ``lowest_share``: of negative images whose CLIP features have at least this cosine (say 0.98), only the
    first is described; they all count for lambda. Every one is described when empty."""
    rule: Literal["lowest_share", "histogram"] = "lowest_share"
    """``lowest_share``: the paper's, eq. 6, over the history. ``histogram``: the public code's: what scores below gamma
    waits, is described once and forgotten, and gamma is set anew from a histogram of all past scores."""
    min_waiting: NonNegativeInt = 200
    """With ``histogram``: captions are asked for when more pictures than this wait."""


class EnsSettings(Stage):
    """Stage 3, expressive negative sentences (paper eq. 7, 8)."""

    template: str = "ens/v1"
    """Prompt template, ``<task>/v<N>``."""
    max_words: PositiveInt = 8
    """The MLLM is asked for fewer words than this; an answer is cut at three times as many."""
    bank_size: PositiveInt = 10_000
    """Sentences kept."""
    queue_overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest"
    """With the ``histogram`` rule, what a full bank lets go. ``drop_newest`` is a defect of the public code."""
    start: Literal["empty", "lexicon"] = "empty"
    """With the ``histogram`` rule, what the bank holds before the first caption; ``lexicon``: the initial negatives."""
    max_updates: NonNegativeInt | None = None
    """With the ``histogram`` rule, how often captions are asked for; without end when empty."""
    reader: Literal["engine", "reference"] = "engine"
    """``engine`` cleans answers and sets refusals and the like aside; ``reference`` takes them as the public code does:
    stripped, without a full stop, once each within one update."""
    drop_id_names: bool = True
    """Set aside a sentence that names an ID class: it would score that class as unknown."""
    max_new_tokens: PositiveInt = 64
    """Length limit of one answer."""
    other_template: str | None = None
    """Asked with, once, about a picture for which the answer was a refusal, empty or cut off; nothing when empty."""


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
    rule: Literal["mean_cosine", "most_frequent"] = "mean_cosine"
    """Which classes: ``mean_cosine`` is the paper's eq. 10; ``most_frequent`` the public code's: the classes that CLIP
    has predicted most often so far."""
    max_classes: PositiveInt = 40
    """With ``most_frequent``: how many classes."""
    start_batch: PositiveInt = 1
    """In a stream, the first batch (from 1) that may ask for look-alikes."""
    interval: PositiveInt = 1
    """In a stream, look-alikes are looked after every so many batches from ``start_batch`` on."""
    reader: Literal["engine", "reference"] = "engine"
    """``engine`` reads lists as tolerantly as MLLMs write them and leaves ID names out; ``reference`` reads numbered
    lines only, as the public code does."""
    max_new_tokens: PositiveInt = 160
    """Length limit of one answer; of a list that it cuts off, the items before the last one are used."""
    other_template: str | None = None
    """Asked with, once, about a class for which the answer was a refusal, empty or cut off; nothing when empty."""


class ActivationSettings(Stage):
    """Activation-aware scoring against the sentences (TANL, CVPR 2026), as the public code offers it in a stream."""

    enabled: bool = False
    """In place of one softmax over the bank."""
    negative_count: PositiveInt = 1000
    """Negatives used, those first that low-scoring pictures activate more than high-scoring ones."""
    step: PositiveInt = 2
    """Negatives added at a time."""
    gap: float = Field(default=0.5, ge=0.0, le=1.0)
    """Margin around the threshold, as a share of the way to 0 and to 1."""
    queue_size: PositiveInt = 20_000
    """Past scores that the threshold is found in."""


class ScoringSettings(Stage):
    """How features become scores."""

    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Softmax temperature tau; ``auto`` is 1 / the model's learned logit scale (0.01 for OpenAI's CLIP)."""
    weight: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["adaptive", "balanced"] = "adaptive"
    """Lambda, the share of ``ens_score`` in ``id_score``: ``adaptive`` is the paper's eq. 14 over the negative images,
    ``balanced`` the public code's running means over every picture of a stream; or a fixed number in [0, 1]."""
    in_score: Literal["ada", "far_only", "near_only", "union", "pool"] = "ada"
    """What ``id_score`` is: both banks weighed (eq. 13), the sentences alone, the look-alikes alone, or, beyond the
    paper, ``union``: both banks in one softmax; ``pool``: the mean of the log-odds of lexicon, sentences and
    look-alikes, and the vote of verified pictures. The last two need no weight."""
    group_length: PositiveInt | None = None
    """A bank longer than this is scored in groups of about this length, remainder dropped, as the public code does
    (100); empty: one softmax, as the paper."""
    random_permute: bool = True
    """Groups of ``group_length`` are cut from a seeded random order."""
    activation: ActivationSettings = ActivationSettings()
    threshold: Threshold | Literal["auto"] = "auto"
    """Below this ``id_score`` a picture is unknown; ``auto`` splits the history's scores in two (Otsu). Scores lie in
    [0, 1]: with -0.01 no picture is unknown, with 1.01 every one is."""


EOE_NEAR_COUNT, EOE_FAR_COUNT = 3, 500
EOE_LIST_TOKENS, EOE_LABEL_TOKENS = 100, 12


class EoeSettings(Stage):
    """How the baseline EOE (ICML 2024) asks for its outlier labels, and weighs them."""

    task: Literal["near", "far"] = "near"
    """``near``: every ID class is asked for, for classes that look like it. ``far``: one question with all of them, for
    classes that look like none. EOE has to be told which OOD it will face."""
    template: str | None = None
    """Prompt template; ``eoe_near/v1`` or ``eoe_far/v1`` when empty."""
    count: PositiveInt | None = None
    """Labels asked for: per class (near; 3 when empty), or in all (far; 500 when empty)."""
    beta: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.25
    """Weight of the best outlier label in the score."""
    max_new_tokens: PositiveInt | None = None
    """Length limit of one answer; when empty, 100 and 12 for each label."""

    @property
    def template_ref(self) -> str:
        """Return the template that is used."""
        return self.template or f"eoe_{self.task}/v1"

    @property
    def labels_per_question(self) -> int:
        """Return how many labels one question asks for."""
        return self.count or (EOE_NEAR_COUNT if self.task == "near" else EOE_FAR_COUNT)

    @property
    def token_limit(self) -> int:
        """Return how long one answer may be."""
        return self.max_new_tokens or EOE_LIST_TOKENS + EOE_LABEL_TOKENS * self.labels_per_question


class MLLMSettings(BaseModel):
    """Which multimodal LLM is asked. Further keys belong to the backend, which validates them."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    backend: str = "huggingface"
    """An installed backend: ``huggingface``, ``openai``, ``scripted`` or another package's."""
    image_max_side: PositiveInt = 448
    """Pictures are shrunk to this longest side (pixels) before they are shown."""


class BudgetSettings(Stage):
    """What one run may use up; it stops before it would exceed any of them, and keeps what was answered."""

    requests: PositiveInt | None = None
    """Calls to the MLLM, tried again or not; without end when empty."""
    tokens: PositiveInt | None = None
    """Prompt and completion tokens together; without end when empty."""
    cost: PositiveFloat | None = None
    """Money, in the currency of ``dispatch.prices``; without end when empty."""


class PriceSettings(Stage):
    """What the MLLM costs, in any one currency."""

    million_prompt_tokens: NonNegativeFloat = 0.0
    """Price of a million prompt tokens."""
    million_completion_tokens: NonNegativeFloat = 0.0
    """Price of a million completion tokens."""
    request: NonNegativeFloat = 0.0
    """Price of one call."""


class DispatchSettings(Stage):
    """How the MLLM is asked."""

    mode: Literal["live", "record", "replay"] = "record"
    """``record`` reads the store, else asks and stores; ``replay`` only reads; ``live`` neither reads nor stores."""
    store: Path = Path(".ants/store")
    """The response store's folder."""
    max_concurrency: PositiveInt | None = None
    """Requests in flight at most; the backend's own figure when empty. How many there are below it is found out."""
    requests_per_minute: PositiveInt | None = None
    """Never more calls than this in any 60 seconds; what the server itself allows is found out."""
    tokens_per_minute: PositiveInt | None = None
    """Never more tokens than this in any 60 seconds, as far as they can be foreseen."""
    budget: BudgetSettings = BudgetSettings()
    prices: PriceSettings = PriceSettings()
    attempts: PositiveInt = 5
    """Tries per request, the first one counted. What an outage of the server cuts off is no try."""
    attempt_timeout: PositiveFloat = 120.0
    """Seconds for one try at a server. A model that runs here takes the time that it takes."""
    deadline: PositiveFloat = 600.0
    """Seconds for one request with all its tries and waits, from its first try on; so long a server that goes away is
    waited for."""
    store_patience: NonNegativeFloat = 60.0
    """Seconds that a store which cannot be used (disk full, folder gone) is waited for before the run ends. What was
    answered meanwhile is held in memory, and nothing more is asked."""
    grace: NonNegativeFloat = 10.0
    """Seconds that answers under way have to come home and be kept when a run is interrupted or fails. A second
    interruption ends it at once."""
    runs: Path | None = Path(".ants/runs")
    """Where each run leaves its folder (``ants run show``); nowhere when empty."""
    min_success: float = Field(default=0.8, ge=0.0, le=1.0)
    """Share of each task's questions that must have a usable answer for a detector to be built: one that gave a text,
    or that was verified and is not needed (said before, or it names an ID class). With 0, whatever came is built on;
    unless it is 0, a task whose first questions all fail with the same cause is not asked any further."""


class StreamSettings(Stage):
    """How a detector adapts while pictures arrive."""

    batch_size: PositiveInt = 256
    """Pictures that are scored together; a test-time method's scores depend on it."""
    lag: NonNegativeInt = 0
    """An update asked for at batch k takes effect at batch k + ``lag``. 0 waits for the MLLM, as the paper does."""
    history: PositiveInt = 4096
    """Candidates for negative images, and recent pictures for the threshold, that are kept: the latest ones."""
    score_history: PositiveInt = 1_000_000
    """With the ``histogram`` rule, past initial scores that gamma is found in: the latest ones (4 bytes each)."""


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

    preset: Literal["paper", "reference"] = "paper"
    """The values that everything else starts from: the paper's, or those of its public code, defects included."""
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
    eoe: EoeSettings = EoeSettings()
    mllm: MLLMSettings = MLLMSettings()
    dispatch: DispatchSettings = DispatchSettings()
    stream: StreamSettings = StreamSettings()
    prompts: PromptSettings = PromptSettings()
    progress: ProgressSettings = ProgressSettings()


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "reference": {
        "lexicon": {"id_names": "exact"},
        "neglabel": {"grouping": "reference", "selection": "reference"},
        "mining": {"gamma": 0.8, "rule": "histogram"},
        "ens": {"queue_overflow": "drop_newest", "max_updates": 20, "reader": "reference"},
        "vsnl": {"rule": "most_frequent", "start_batch": 10, "interval": 40, "reader": "reference"},
        "scoring": {"weight": "balanced", "in_score": "far_only", "group_length": 100},
    },
}
"""What a preset sets apart from the defaults; anything else that is given wins over it."""
