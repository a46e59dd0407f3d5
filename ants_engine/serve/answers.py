"""The server's answers, as OpenAPI describes them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ants_engine.detector.scores import Explanation, NearText, Score


class _Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Problem(_Answer):
    """An error with its remedy."""

    type: str = Field(description="One word for programs.")
    message: str


class ErrorAnswer(_Answer):
    """The answer to a refused request."""

    error: Problem


class ItemScore(_Answer):
    """The scores of one picture; every score lies in [0, 1]."""

    verdict: Literal["known", "unknown"]
    is_outlier: bool = Field(description="Whether id_score is below the threshold.")
    predicted_class: str = Field(description="The nearest known class, also where the picture is unknown.")
    predicted: int = Field(description="Its position in the detector's classes.")
    id_score: float = Field(description="The paper's S; higher = known.")
    outlier_score: float = Field(description="1 - id_score; higher = unknown.")
    ens_score: float = Field(description="Against the MLLM's sentences.")
    vsnl_score: float = Field(description="Against the look-alikes.")
    neglabel_score: float = Field(description="Against the lexicon.")

    @classmethod
    def of(cls, score: Score) -> "ItemScore":
        """Convert a row of `Scores`."""
        values = {name: getattr(score, name) for name in cls.model_fields}
        return cls.model_construct(**values | {"verdict": "unknown" if score.is_outlier else "known"})


class ItemResult(_Answer):
    """One picture or feature: its score, or its error."""

    name: str
    verdict: Literal["known", "unknown", "unreadable"] = Field(
        default="unreadable", description="unreadable: there is no score, and `error` says why."
    )
    score: ItemScore | None = None
    error: Problem | None = None


class ScoreAnswer(_Answer):
    """Results in the order of the request."""

    results: list[ItemResult]
    threshold: float = Field(description="Below this id_score a picture is called unknown.")
    weight: float = Field(description="Lambda, the share of ens_score in id_score.")


class Near(_Answer):
    """A text near the picture."""

    text: str
    cosine: float
    kind: Literal["class", "ens", "vsnl", "neglabel"] = Field(
        description="An ID class, a sentence of the MLLM, a look-alike, or a word of the lexicon."
    )
    origin: str = Field(description="The source of the text, in words.")

    @classmethod
    def of(cls, near: NearText) -> "Near":
        """Convert a text; a picture's path is reduced to its last part."""
        source = near.source.rstrip("/\\").replace("\\", "/").rpartition("/")[2] if near.kind == "ens" else near.source
        bare = NearText(near.text, near.cosine, near.kind, source)
        return cls(text=near.text, cosine=near.cosine, kind=near.kind, origin=bare.origin())


class ItemExplanation(ItemResult):
    """One picture or feature with the texts nearest to it, or its error."""

    classes: list[Near] = []
    negatives: list[Near] = []

    @classmethod
    def of_explanation(cls, name: str, score: Score, why: Explanation) -> "ItemExplanation":
        """Convert an explanation."""
        return cls.model_construct(
            name=name,
            verdict=score.verdict.value,
            score=ItemScore.of(score),
            error=None,
            classes=[Near.of(near) for near in why.classes],
            negatives=[Near.of(near) for near in why.negatives],
        )


class ExplainAnswer(_Answer):
    """Explanations in the order of the request."""

    results: list[ItemExplanation]
    threshold: float
    weight: float


class Limits(_Answer):
    """Limits of one request."""

    body_bytes: int
    pictures: int
    pixels: int


class DetectorAnswer(_Answer):
    """The served detector."""

    classes: list[str]
    threshold: float
    weight: float
    sentences: int
    look_alikes: int
    lexicon_words: int
    feature_size: int = Field(description="D, the length of a CLIP feature.")
    clip: str = Field(description="sha256 of the CLIP model's parts that determine features.")
    version: str = Field(description="Of ants-engine.")
    same_bits: bool = Field(description="Whether the same picture gets the same bits whatever arrives with it.")
    streams: int = Field(description="Named streams that may be open; 0: scoring is frozen.")
    limits: Limits


class State(_Answer):
    """Liveness or readiness of the server."""

    status: Literal["ok", "starting", "stopping"]


class StreamAdaptation(_Answer):
    """A stream's state when it scored a batch."""

    batch: int = Field(description="The batch, from 1.")
    pictures: int = Field(description="Pictures that the stream has seen, this batch included.")
    gamma: float
    weight: float
    threshold: float
    ens_updates: int
    captions_asked: int | None
    look_alikes_asked: int | None
    ens_texts: int
    vsnl_texts: int
    pending: int
    waited: float = Field(description="Seconds that this batch waited for the MLLM.")


class StreamScoreAnswer(ScoreAnswer):
    """Results of one batch of a stream."""

    stream: str
    adaptation: StreamAdaptation


class StreamAnswer(_Answer):
    """A named stream."""

    name: str
    batches: int
    pictures: int
    sentences: int
    look_alikes: int
    threshold: float
    weight: float
    saved: bool = Field(description="Whether all that it has learned is in the streams' folder.")


class StreamsAnswer(_Answer):
    """All open streams."""

    streams: list[StreamAnswer]
    most: int
