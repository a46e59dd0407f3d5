"""EOE's outlier labels (ICML 2024), by the same MLLM and response store as the engine's own requests.

For near-OOD EOE asks for look-alikes of *every* ID class, where ANTS asks for those that the stream resembles; for
far-OOD it asks once, with all classes, for names that resemble none of them.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ants_engine.detector.class_list import ClassList
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.prompt_template import PromptTemplate, TemplateLibrary
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.errors import UsageError
from ants_engine.learning.answers import ENDS_A_BUILD, NegativeTexts, Tally, judge_labels, look_alikes, sort_answers
from ants_engine.learning.report import SetAside
from ants_engine.method.answer import Rejection
from ants_engine.method.final_part import final_part
from ants_engine.protocol import Decoding
from ants_engine.settings.config import EoeSettings, Settings, VsnlSettings

ALL_CLASSES = "all classes"
ITEMS = 50
"""Items of one piece of a long answer; the reader accepts 100."""
CHARACTERS = 2_000
"""Characters of one piece; the reader accepts 4,096."""
LONGEST = 200_000
"""Characters of an answer that are read: several times the length of 500 labels."""


@dataclass(slots=True)
class OutlierLabels:
    """L labels, in the order of the requests, and what was set aside."""

    texts: tuple[str, ...] = ()
    """The labels: no ID class, each once ignoring case."""
    sources: tuple[str, ...] = ()
    """Per label: the ID class of its request, or ``all classes``."""
    asked: int = 0
    """Requests sent to the MLLM."""
    from_store: int = 0
    """Requests answered by the response store."""
    failed: int = 0
    """Requests without an answer."""
    prompt_tokens: int | None = None
    """Over all answers that report it, stored ones included; None if none does."""
    completion_tokens: int | None = None
    set_aside: list[SetAside] = field(default_factory=list)
    template: str = ""
    """The prompt template."""
    template_sha256: str = ""

    def put_aside(self, item: SetAside) -> None:
        """Record something that was not used."""
        self.set_aside.append(item)

    def prompts(self, classes: ClassList) -> list[str]:
        """Return the texts to encode: the labels in the template of the ID classes."""
        return [classes.template.replace("{}", label) for label in self.texts]


async def outlier_labels(
    classes: ClassList, settings: Settings, coordinator: Coordinator, fits: Callable[[str], bool]
) -> OutlierLabels:
    """Request outlier labels, and read the answers.

    Args:
        classes: the ID classes.
        settings: ``eoe``, ``prompts`` and ``dispatch.min_success`` are used.
        coordinator: open.
        fits: whether a text fits CLIP's context; a label whose prompt does not is set aside.

    Raises:
        TemplateError: the template is missing or malformed, or does not take what its task gives it.
        NotEnoughAnswersError: fewer usable answers than ``dispatch.min_success``.
        UsageError: this MLLM cannot be asked without a picture, or the coordinator is not open.
        StoreError: a replay misses an answer, or the store cannot be used.
        AuthenticationError: the MLLM's key is missing or refused.
        QuotaError: the account's quota is spent.
    """
    if not coordinator.capabilities.text_only:
        raise UsageError("eoe asks without a picture, and this MLLM cannot be asked so; set mllm to another one")
    eoe = settings.eoe
    template = TemplateLibrary(settings.prompts.folder).load(eoe.template_ref)
    questions = _questions(classes, template, eoe)
    outcomes = await _ask([prompt for _, prompt in questions], template, eoe, coordinator)
    labels = OutlierLabels(template=template.ref, template_sha256=template.sha256)
    named = [(name, outcome) for (name, _), outcome in zip(questions, outcomes, strict=True)]
    answers, failed = sort_answers(named, labels)
    texts, unusable = await asyncio.to_thread(_read, answers, classes, eoe)
    labels.set_aside += texts.set_aside
    tally = Tally(f"eoe {eoe.task}", len(questions))
    for error in failed:
        tally.fail(error)
    for reason in unusable:
        tally.reject(reason)
    tally.check(settings.dispatch.min_success)
    _keep(labels, texts, classes, fits, eoe)
    return labels


def _questions(classes: ClassList, template: PromptTemplate, eoe: EoeSettings) -> list[tuple[str, str]]:
    """Return the subject and prompt of each request."""
    count = eoe.labels_per_question
    if eoe.task == "far":
        return [(ALL_CLASSES, template.render(count=count, class_list=", ".join(classes.names)))]
    return [(name, template.render(count=count, class_name=name)) for name in classes.names]


async def _ask(
    prompts: Sequence[str], template: PromptTemplate, eoe: EoeSettings, coordinator: Coordinator
) -> list[Outcome]:
    """Send all requests at once; a permanent error cancels the pending ones."""
    decoding = Decoding(max_new_tokens=eoe.token_limit)
    identity = coordinator.identity
    tasks = [
        coordinator.submit(Request.of(template, prompt, identity=identity, decoding=decoding, judge=judge_labels))
        for prompt in prompts
    ]
    try:
        for finished in asyncio.as_completed(tasks):
            error = (await finished).error
            if isinstance(error, ENDS_A_BUILD):
                raise error
    finally:
        for task in tasks:
            task.cancel()
    return [task.result() for task in tasks]


def _read(
    answers: Sequence[tuple[str, str]], classes: ClassList, eoe: EoeSettings
) -> tuple[NegativeTexts, list[Rejection]]:
    """Read answers, given as (ID class, raw answer); also returns why answers were unusable."""
    if eoe.task == "near":
        texts = look_alikes(answers, classes, VsnlSettings(labels_per_class=eoe.labels_per_question))
        return texts, texts.unusable_reasons
    cut = [(name, piece) for name, raw in answers for piece in pieces(raw)]
    # pieces are read whole: the limit applies to all of them together
    texts = look_alikes(cut, classes, VsnlSettings(labels_per_class=2 * ITEMS))
    # the answer is unusable only if all its pieces are
    return texts, [] if texts.texts else texts.unusable_reasons[:1]


def _keep(
    labels: OutlierLabels, texts: NegativeTexts, classes: ClassList, fits: Callable[[str], bool], eoe: EoeSettings
) -> None:
    kept: list[tuple[str, str]] = []
    for label, source in zip(texts.texts, texts.sources, strict=True):
        if not fits(classes.template.replace("{}", label)):
            labels.put_aside(SetAside("text", label, "longer than CLIP's text context"))
        elif eoe.task == "far" and len(kept) == eoe.labels_per_question:
            labels.put_aside(SetAside("text", label, Rejection.BANK_FULL.value))
        else:
            kept.append((label, source))
    labels.texts = tuple(label for label, _ in kept)
    labels.sources = tuple(source for _, source in kept)


def pieces(answer: str) -> list[str]:
    """Split an MLLM's answer at line ends, and long lines at commas, for a reader of short lists.

    Args:
        answer: the raw answer; a reasoning model's thoughts and what is beyond `LONGEST` are dropped.

    Returns:
        Pieces of at most `ITEMS` lines or commas and, unless a single item is longer, `CHARACTERS` characters; one
        empty piece for an empty answer.
    """
    found: list[str] = []
    held: list[str] = []
    items = characters = 0
    for line in _short_lines((final_part(answer) or "")[:LONGEST]):
        count = 1 + line.count(",")
        if held and (items + count > ITEMS or characters + len(line) > CHARACTERS):
            found.append("\n".join(held))
            held, items, characters = [], 0, 0
        held.append(line)
        items += count
        characters += len(line)
    return [*found, "\n".join(held)]


def _short_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.count(",") < ITEMS and len(line) <= CHARACTERS:
            yield line
            continue
        parts = line.split(",")
        for start in range(0, len(parts), ITEMS // 2):
            yield ",".join(parts[start : start + ITEMS // 2])
