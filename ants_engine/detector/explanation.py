"""Why a picture got its score: the texts nearest to it, and where each text came from."""

from dataclasses import asdict, dataclass
from typing import Any

from ants_engine.common.terminal_text import encodable
from ants_engine.detector.scores import Score, Verdict

KINDS = {
    "ens": "what the MLLM said of",
    "vsnl": "looks like",
    "neglabel": "from the lexicon",
}
WITNESSES = {"neglabel": "lexicon", "ens": "sentences", "vsnl": "look-alikes", "pictures": "verified pictures"}


@dataclass(frozen=True, slots=True)
class NearText:
    """One text near the picture."""

    text: str
    cosine: float
    """Cosine of the text's and the picture's CLIP features."""
    kind: str
    """``class``, ``ens`` (a sentence), ``vsnl`` (a look-alike) or ``neglabel`` (a word of the lexicon)."""
    source: str
    """The class's prompt, the picture that was described, the class that it looks like, or the lexicon."""

    def origin(self) -> str:
        """Say in words where the text came from."""
        return f"{KINDS[self.kind]} {self.source}" if self.kind in KINDS else self.source


@dataclass(frozen=True, slots=True)
class Explanation:
    """One picture's score with the nearest ID classes and negative texts, nearest first."""

    score: Score
    threshold: float
    weight: float
    classes: tuple[NearText, ...]
    negatives: tuple[NearText, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-able values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a few lines for people."""
        score = self.score
        verdict = str(score.predicted_class if score.verdict is Verdict.KNOWN else score.verdict)
        relation = "<" if score.is_outlier else ">="
        lines = [f"{score.name}: {verdict}  (id_score {score.id_score:.3f} {relation} threshold {self.threshold:.3f})"]
        if score.votes:
            voices = ", ".join(f"{WITNESSES[name]} {vote:+.1f}" for name, vote in score.votes.items())
            lines.append(f"  log-odds of being known: {voices}")
        lines += [f"  {near.cosine:.3f}  ID class    {near.text}" for near in self.classes]
        lines += [f"  {near.cosine:.3f}  {near.kind:<10}  {near.text}  [{near.origin()}]" for near in self.negatives]
        return encodable("\n".join(lines))
