"""What came of asking an MLLM for outlier labels."""

from dataclasses import dataclass, field

from ants_engine.detector.class_list import ClassList
from ants_engine.learning.report import SetAside


@dataclass(slots=True)
class OutlierLabels:
    """L labels, in the order of the questions, and what was set aside."""

    texts: tuple[str, ...] = ()
    """The labels, none of them an ID class, each once ignoring case."""
    sources: tuple[str, ...] = ()
    """Per label: the ID class that was asked for, or ``all classes``."""
    asked: int = 0
    """Requests that went to the MLLM."""
    from_store: int = 0
    """Requests that the response store answered."""
    failed: int = 0
    """Requests without an answer."""
    prompt_tokens: int | None = None
    """Over all answers that say so, stored ones included; None if none does."""
    completion_tokens: int | None = None
    set_aside: list[SetAside] = field(default_factory=list)
    template: str = ""
    """The prompt template."""
    template_sha256: str = ""

    def put_aside(self, item: SetAside) -> None:
        """Note something that was not used."""
        self.set_aside.append(item)

    def prompts(self, classes: ClassList) -> list[str]:
        """Return the texts to encode: every label written as the ID classes are, so that they compare with it."""
        return [classes.template.replace("{}", label) for label in self.texts]
