"""Every setting, one frozen pydantic model per stage. `ants_engine.settings.loader` merges the sources."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

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
    model_validator,
)


def _one_slot(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError("needs {} exactly once, where the name goes")
    return template


NameTemplate = Annotated[str, AfterValidator(_one_slot)]
"""A text with one ``{}``."""


THRESHOLD_SLACK = 0.01
Threshold = Annotated[float, Field(ge=-THRESHOLD_SLACK, le=1.0 + THRESHOLD_SLACK, allow_inf_nan=False)]
"""Threshold of ``id_score``. Scores lie in [0, 1]; with a value just outside, no or every picture is OOD."""


class Stage(BaseModel):
    """Base of all settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse booleans for numbers: Python counts them as 1 and 0."""
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
    padded to it, and another value may change the last bits."""
    text_batch_size: PositiveInt = 256
    """Texts encoded together; as for ``batch_size``, it may change the last bits on an accelerator."""
    compile: bool = False
    """Compile the vision tower with ``torch.compile``: the first batch takes up to minutes, later ones are faster on a
    GPU. Features differ in the last bits from those of an uncompiled model."""
    cache_dir: Path | None = None
    """Folder of weights from the hub; open_clip's default when empty."""
    feature_store: Path | None = None
    """Folder in which the features of picture files are cached, so that a second run over the same files encodes none
    of them; no cache when empty. Cached features have the bits that encoding gives."""


class ImageSettings(Stage):
    """Which pictures are accepted."""

    max_pixels: PositiveInt = 100_000_000
    """Pictures with more pixels are refused before they are decoded."""
    max_bytes: PositiveInt = 100_000_000
    """Files larger than this are refused unread."""
    on_error: Literal["skip", "raise"] = "skip"
    """``skip`` sets an unusable picture aside and reports it; ``raise`` ends the run."""
    decode_threads: PositiveInt = 2
    """Threads that decode ahead of CLIP; they also fetch web addresses, where that is allowed."""
    urls: Literal["refuse", "allow"] = "refuse"
    """Whether pictures given as http(s) addresses are fetched, at most ``max_bytes`` each."""
    url_timeout: PositiveFloat = 20.0
    """Seconds to fetch one picture, from resolving the host name to the last byte, redirects included."""
    url_hosts: tuple[str, ...] = ()
    """Hosts allowed on this machine or in a private network; all others must be on the public internet (SSRF guard)."""


class TextSettings(Stage):
    """How names become CLIP prompts. ``{}`` is the name."""

    class_template: NameTemplate = "The nice {}."
    """For ID classes, look-alikes and nouns of the lexicon (NegLabel's template)."""
    adjective_template: NameTemplate = "This is a {} photo."
    """For adjectives of the lexicon."""
    feature_cache: Path | None = Path(".ants/features")
    """Folder in which the features of texts are cached, so that a lexicon, and repeated lists of sentences and
    look-alikes, are encoded once per CLIP model; no cache when empty."""


class LexiconSettings(Stage):
    """Candidates for the initial negative labels (stage 1)."""

    source: str = "wordnet"
    """``wordnet`` (ships with the package) or a file as a path: ``word<TAB>noun|adjective`` a line, ``.gz`` allowed."""
    id_names: Literal["aliases", "exact"] = "aliases"
    """Which words are removed as names of ID classes. ``aliases``: every name of a class, singular or plural
    (``lion, king of beasts``: both; ``bald eagle``: also ``eagle``). ``exact``: whole names only."""


class NegLabelSettings(Stage):
    """Stage 1, the initial detector (NegLabel, ICLR 2024)."""

    count: PositiveInt = 10_000
    """M: negatives kept, at most the lexicon's size."""
    percentile: float = Field(default=0.95, ge=0.0, le=1.0)
    """Quantile of a candidate's cosines to the ID classes that measures its similarity to them."""
    groups: PositiveInt = 100
    """G: the score is averaged over so many groups of negatives."""
    min_group_length: PositiveInt = 100
    """Minimum length of a group (the paper's 10,000 / 100): a shorter lexicon is cut into fewer groups, down to one.
    Gamma is meant for a score against so many negatives; shorter groups would make everything look ID."""
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
    """Maximum number of negative images, lowest scores first; it bounds the number of caption requests."""
    same_picture: float | None = Field(default=None, gt=0.0, le=1.0)
    """With ``lowest_share``: of negative images whose CLIP features have at least this cosine (say 0.98), only the
    first is described; they all count for lambda. Every one is described when empty."""
    rule: Literal["lowest_share", "histogram"] = "lowest_share"
    """``lowest_share``: the paper's, eq. 6, over the history. ``histogram``: the public code's: what scores below gamma
    waits, is described once and forgotten, and gamma is set anew from a histogram of all past scores."""
    describe: float | None = Field(default=None, gt=0.0, le=1.0)
    """With ``lowest_share``: of the negative images only this share is described, those most unlike each other: a bank
    of different sentences for a part of the price. 0.5 is as good as all of them, 0.25 nearly so. When empty, all are
    described."""
    describe_least: PositiveInt = 50
    """So many are described in any case, however small the share."""
    min_waiting: NonNegativeInt = 200
    """With ``histogram``: captions are requested when more pictures than this are waiting."""


class EnsSettings(Stage):
    """Stage 3, expressive negative sentences (paper eq. 7, 8)."""

    template: str = "ens/v1"
    """Prompt template, ``<task>/v<N>``."""
    max_words: PositiveInt = 8
    """The MLLM is asked for fewer words than this; answers are cut at three times as many."""
    bank_size: PositiveInt = 10_000
    """Maximum number of sentences."""
    queue_overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest"
    """With the ``histogram`` rule, what a full bank drops. ``drop_newest`` is a defect of the public code."""
    start: Literal["empty", "lexicon"] = "empty"
    """With the ``histogram`` rule, the bank's initial content; ``lexicon``: the initial negatives."""
    max_updates: NonNegativeInt | None = None
    """With the ``histogram`` rule, maximum number of caption updates; unlimited when empty."""
    reader: Literal["engine", "reference"] = "engine"
    """``engine`` cleans answers and sets refusals and the like aside; ``reference`` takes them as the public code does:
    stripped, without a full stop, once each within one update."""
    drop_id_names: bool = True
    """Set aside sentences that name an ID class: they would make that class look OOD."""
    max_new_tokens: PositiveInt = 64
    """Length limit of one answer."""
    other_template: str | None = None
    """Asked with, once, about a picture for which the answer was a refusal, empty or cut off; nothing when empty."""


class VsnlSettings(Stage):
    """Stages 4 and 5, visually similar negative labels (paper eq. 10 to 12)."""

    template: str = "vsnl/v1"
    """Prompt template, ``<task>/v<N>``."""
    delta: float = Field(default=0.08, gt=0.0, le=1.0)
    """Share of the ID classes, most similar first, whose look-alikes are requested."""
    min_classes: PositiveInt = 80
    """Minimum number of classes (all, if there are fewer): the paper's share of its 1,000 classes."""
    labels_per_class: PositiveInt = 5
    """Look-alikes requested per class."""
    rule: Literal["mean_cosine", "most_frequent"] = "mean_cosine"
    """Which classes: ``mean_cosine`` is the paper's eq. 10; ``most_frequent`` the public code's: the classes that CLIP
    has predicted most often so far."""
    max_classes: PositiveInt = 40
    """With ``most_frequent``: how many classes."""
    start_batch: PositiveInt = 1
    """In a stream, the first batch (from 1) that may ask for look-alikes."""
    interval: PositiveInt = 1
    """In a stream, look-alikes are updated every so many batches from ``start_batch`` on."""
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
    """Use it in place of one softmax over the bank."""
    negative_count: PositiveInt = 1000
    """Negatives used, those first that low-scoring pictures activate more than high-scoring ones."""
    step: PositiveInt = 2
    """Negatives added at a time."""
    gap: float = Field(default=0.5, ge=0.0, le=1.0)
    """Margin around the threshold, as a share of the way to 0 and to 1."""
    queue_size: PositiveInt = 20_000
    """Past scores from which the threshold is computed."""


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
    threshold: Threshold | Literal["judge", "null", "otsu", "calibrated", "auto"] = "auto"
    """Below this ``id_score`` a picture is unknown. ``judge``: where the MLLM's answers about a sample of the pictures
    say that ID ends; ``null``: the empirical null of the scores alone, which ``judge`` falls back to; ``otsu``, also
    called ``auto``: splits the scores in two, and finds unknown pictures where there are none; ``calibrated``: what
    `ANTS.calibrate` found. Or a number: scores lie in [0, 1]; with -0.01 no picture is unknown, with 1.01 every one
    is."""

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.in_score == "pool" and self.activation.enabled:
            raise ValueError("activation.enabled has no use where in_score is 'pool': leave one of them out")
        return self


class ThresholdSettings(Stage):
    """How ``scoring.threshold = "judge"``, ``"null"`` and a calibration find the threshold."""

    false_alarms: float = Field(default=0.05, gt=0.0, lt=0.5)
    """Share of the known pictures that may be called unknown."""
    questions: NonNegativeInt = 100
    """Pictures that the judge is asked about; those that are described anyway cost nothing more. With 0 there is no
    judge."""
    judge_false_yes: float = Field(default=0.1, ge=0.0, le=0.5)
    """How often an MLLM is expected to confirm a picture that shows no ID class."""


EOE_NEAR_COUNT, EOE_FAR_COUNT = 3, 500
EOE_LIST_TOKENS, EOE_LABEL_TOKENS = 100, 12


class EoeSettings(Stage):
    """Outlier labels of the baseline EOE (ICML 2024), and their weight."""

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
    """The multimodal LLM. Further keys belong to the backend, which validates them."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    backend: str = "huggingface"
    """An installed backend: ``huggingface``, ``openai``, ``scripted`` or another package's."""
    image_max_side: PositiveInt = 448
    """Pictures are shrunk to this longest side (pixels) before they are shown."""


class BudgetSettings(Stage):
    """Limits of one run; it stops before exceeding any of them, and keeps the answers so far."""

    requests: PositiveInt | None = None
    """Calls to the MLLM, retries included; unlimited when empty."""
    tokens: PositiveInt | None = None
    """Prompt and completion tokens together; unlimited when empty."""
    cost: PositiveFloat | None = None
    """Cost in the currency of ``dispatch.prices``; unlimited when empty."""


class PriceSettings(Stage):
    """Prices of the MLLM, in any one currency."""

    million_prompt_tokens: NonNegativeFloat = 0.0
    """Price of a million prompt tokens."""
    million_completion_tokens: NonNegativeFloat = 0.0
    """Price of a million completion tokens."""
    request: NonNegativeFloat = 0.0
    """Price of one call."""


class DispatchSettings(Stage):
    """How requests are sent to the MLLM: store, rate limits, retries, budget."""

    mode: Literal["live", "record", "replay"] = "record"
    """``record`` reads the store, else asks and stores; ``replay`` only reads; ``live`` does not use the store."""
    store: Path = Path(".ants/store")
    """The response store's folder."""
    max_concurrency: PositiveInt | None = None
    """Maximum requests in flight; the backend's own limit when empty. Below it, concurrency is adaptive (AIMD)."""
    requests_per_minute: PositiveInt | None = None
    """Rate limit: calls in any 60 seconds. The server's own limit is learned from its responses."""
    tokens_per_minute: PositiveInt | None = None
    """Rate limit: estimated tokens in any 60 seconds."""
    budget: BudgetSettings = BudgetSettings()
    prices: PriceSettings = PriceSettings()
    attempts: PositiveInt = 5
    """Attempts per request, the first included. An attempt interrupted by an outage of the server does not count."""
    attempt_timeout: PositiveFloat = 120.0
    """Timeout of one attempt in seconds, for servers. Local models have none."""
    deadline: PositiveFloat = 600.0
    """Seconds for one request with all attempts and waits, from the first attempt on; an unavailable server is waited
    for as long."""
    store_patience: NonNegativeFloat = 60.0
    """Seconds to wait for an unusable store (disk full, folder gone) before the run ends. Answers received meanwhile
    are held in memory, and no new request is sent."""
    grace: NonNegativeFloat = 10.0
    """Grace period in seconds for requests in flight when a run is interrupted or fails; their answers are stored. A
    second interruption ends it at once."""
    runs: Path | None = Path(".ants/runs")
    """Folder of the runs' records (``ants run show``); none are written when empty."""
    min_success: float = Field(default=0.8, ge=0.0, le=1.0)
    """Share of each task's requests that must have a usable answer for a detector to be built: one that gave a text, or
    one that is valid but not needed (a duplicate, or it names an ID class). With 0 any result is accepted; otherwise a
    task whose first requests all fail with the same cause is stopped early."""


class StreamSettings(Stage):
    """How a detector adapts while pictures arrive."""

    batch_size: PositiveInt = 256
    """Pictures scored together; a test-time method's scores depend on it."""
    lag: NonNegativeInt = 0
    """An update requested at batch k takes effect at batch k + ``lag``. 0 waits for the MLLM, as in the paper."""
    history: PositiveInt = 4096
    """Number of latest candidates for negative images, and of latest pictures for the threshold, that are kept."""
    score_history: PositiveInt = 1_000_000
    """With the ``histogram`` rule, number of latest initial scores from which gamma is computed (4 bytes each)."""


class PromptSettings(Stage):
    """Where prompt templates come from."""

    folder: Path | None = None
    """A folder ``<task>/v<N>.toml`` that takes precedence over the package's own."""


class ProgressSettings(Stage):
    """Progress display."""

    bar: Literal["auto", "on", "off"] = "auto"
    """``auto`` shows a bar on a terminal only."""


class Settings(Stage):
    """All settings of an engine."""

    preset: Literal["engine", "paper", "reference"] = "paper"
    """The values that everything else starts from. ``engine``: the score and the threshold that can be trusted most;
    ``paper``: the paper's; ``reference``: those of its public code, defects included."""
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
    threshold: ThresholdSettings = ThresholdSettings()
    eoe: EoeSettings = EoeSettings()
    mllm: MLLMSettings = MLLMSettings()
    dispatch: DispatchSettings = DispatchSettings()
    stream: StreamSettings = StreamSettings()
    prompts: PromptSettings = PromptSettings()
    progress: ProgressSettings = ProgressSettings()


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "engine": {
        "mining": {"describe": 0.5},
        "ens": {"template": "ens/v3"},
        "scoring": {"in_score": "pool", "threshold": "judge"},
    },
    "reference": {
        "lexicon": {"id_names": "exact"},
        "neglabel": {"grouping": "reference", "selection": "reference"},
        "mining": {"gamma": 0.8, "rule": "histogram"},
        "ens": {"queue_overflow": "drop_newest", "max_updates": 20, "reader": "reference"},
        "vsnl": {"rule": "most_frequent", "start_batch": 10, "interval": 40, "reader": "reference"},
        "scoring": {"weight": "balanced", "in_score": "far_only", "group_length": 100},
    },
}
"""The values of each preset that differ from the defaults; any other source overrides them."""
