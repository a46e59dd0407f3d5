"""The two questions that ANTS asks an MLLM: describe this picture, name look-alikes of this class.

`Questions` makes requests of them; `Asker` sends them as tasks, and says how each has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable

from ants_engine.clip.decode import load_rgb
from ants_engine.clip.feature_store import ShownPictures, content_key
from ants_engine.clip.image_ref import ImageRef
from ants_engine.clip.picture import encode_picture
from ants_engine.common.progress import ProgressCallback, ProgressEvent
from ants_engine.detector.class_list import ClassList
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.limits.budget import Spent
from ants_engine.dispatch.prompt_template import PromptTemplate
from ants_engine.dispatch.request import Judge, LazyPicture, Outcome, PictureSource, Request
from ants_engine.dispatch.throughput_monitor import Counts, Pulse
from ants_engine.errors import ImageError, UnusableAnswerError
from ants_engine.learning.answers import judge_caption, judge_labels, judge_verdict
from ants_engine.learning.preflight import load_templates
from ants_engine.learning.run_observer import AnsweredQuestion, RunObserver
from ants_engine.learning.state import Candidate, EnsUpdate, JudgeUpdate, Update
from ants_engine.protocol import Decoding
from ants_engine.settings.config import Settings

Question = asyncio.Task[Outcome | ImageError]
# pictures decoded and encoded ahead of the MLLM, per slot: one being answered, one ready
AHEAD = 2


class Questions:
    """Renders prompts, shows pictures, and hands requests to the coordinator."""

    def __init__(self, settings: Settings, coordinator: Coordinator) -> None:
        """Load both templates and see that they can be filled.

        Raises:
            TemplateError: a template is missing or malformed, or does not take what its task gives it.
        """
        self._settings = settings
        self._coordinator = coordinator
        self._templates = load_templates(settings)
        self.templates = self._templates.sha256s
        """Names of the templates and the sha256 of their files."""
        folder, side = settings.clip.feature_store, settings.mllm.image_max_side
        self._known = None if folder is None else ShownPictures(folder, side, settings.pictures)
        # an encoded picture lives in memory while its request does; this bounds how many do
        self._ahead = asyncio.Semaphore(AHEAD * coordinator.slots)

    @property
    def can_show_pictures(self) -> bool:
        """Whether this MLLM can be shown a picture."""
        return self._coordinator.capabilities.pictures

    @property
    def can_ask_in_words(self) -> bool:
        """Whether this MLLM can be asked without a picture."""
        return self._coordinator.capabilities.text_only

    @property
    def verifies(self) -> bool:
        """Whether captions answer a template that verifies or describes."""
        return self._templates.ens.file.verifies

    def on_heartbeat(self, callback: Callable[[], None]) -> None:
        """Have something called once a second while there are questions under way."""
        self._coordinator.on_heartbeat(callback)

    @property
    def spent(self) -> Spent:
        """What the questions have used up so far."""
        return self._coordinator.pulse.spent

    @property
    def standing(self) -> tuple[Counts, Pulse]:
        """How far they are, and whether it moves."""
        return self._coordinator.counts, self._coordinator.pulse

    def in_words(self) -> str:
        """Say what the requests are doing, for a progress bar."""
        counts, pulse = self._coordinator.counts, self._coordinator.pulse
        parts = [f"{counts.in_flight} of {pulse.limit} with the MLLM"] if counts.in_flight else []
        parts += [f"{counts.retrying} waiting to be retried"] if counts.retrying else []
        parts += [f"{counts.sharing} asked by another process"] if counts.sharing else []
        parts += [f"{counts.storing} waiting for the disk"] if counts.storing > pulse.limit // 2 else []
        parts += [f"{counts.failed} failed"] if counts.failed else []
        parts += [words] if (words := pulse.in_words()) else []
        return ", ".join(parts)

    async def describe(self, ref: ImageRef, class_name: str) -> Outcome:
        """Ask for one ENS sentence of the picture that CLIP took for ``class_name`` (paper eq. 7).

        Raises:
            ImageError: the picture cannot be read any more.
        """
        ens = self._settings.ens
        decoding = Decoding(max_new_tokens=ens.max_new_tokens)
        async with self._ahead:
            picture = await asyncio.to_thread(self._shown, ref)

            async def ask(template: PromptTemplate) -> Outcome:
                judge = judge_verdict if template.file.verifies else judge_caption
                prompt = template.render(max_words=ens.max_words, class_name=class_name)
                return await self._ask(
                    template, prompt, decoding, None if ens.reader == "reference" else judge, picture, ref.name
                )

            return await _with_another(ask, self._templates.ens, self._templates.other_ens)

    async def look_alikes(self, class_name: str) -> Outcome:
        """Ask for labels that look like ``class_name`` (paper eq. 11)."""
        vsnl = self._settings.vsnl
        decoding = Decoding(max_new_tokens=vsnl.max_new_tokens)
        judge = None if vsnl.reader == "reference" else judge_labels

        async def ask(template: PromptTemplate) -> Outcome:
            prompt = template.render(count=vsnl.labels_per_class, class_name=class_name)
            return await self._ask(template, prompt, decoding, judge)

        return await _with_another(ask, self._templates.vsnl, self._templates.other_vsnl)

    def _shown(self, ref: ImageRef) -> PictureSource:
        """Give what the MLLM is shown; where its digest is known, undecoded: the answer may be in the store."""
        limits, side = self._settings.pictures, self._settings.mllm.image_max_side
        data = None if self._known is None else ref.read(limits)
        if self._known is None or data is None:
            return encode_picture(ref.load(limits), side)
        key = content_key(data)
        sha256 = self._known.load(key)
        if sha256 is not None:
            return LazyPicture(sha256, lambda: asyncio.to_thread(lambda: encode_picture(ref.load(limits), side)))
        picture = encode_picture(load_rgb(data, name=ref.name, limits=limits), side)
        self._known.save(key, picture.sha256)
        return picture

    async def _ask(
        self,
        template: PromptTemplate,
        prompt: str,
        decoding: Decoding,
        judge: Judge | None,
        picture: PictureSource | None = None,
        label: str = "",
    ) -> Outcome:
        request = Request.of(
            template=template,
            prompt=prompt,
            picture=picture,
            identity=self._coordinator.identity,
            decoding=decoding,
            label=label,
            judge=judge,
        )
        return await self._coordinator.submit(request)


async def _with_another(
    ask: Callable[[PromptTemplate], Awaitable[Outcome]], template: PromptTemplate, other: PromptTemplate | None
) -> Outcome:
    """Ask, and where the answer is of no use, once more with another template."""
    outcome = await ask(template)
    if other is None or not isinstance(outcome.error, UnusableAnswerError):
        return outcome
    return await ask(other)


class Asker:
    """Asks the MLLM, each question in a task of its own; tells progress and observer how each has ended."""

    def __init__(
        self,
        classes: ClassList,
        questions: Questions,
        progress: ProgressCallback,
        observer: RunObserver,
        *,
        bounded: bool,
        ends_run: tuple[type[Exception], ...],
    ) -> None:
        """Prepare.

        Args:
            classes: the ID classes.
            questions: the MLLM.
            progress: told of every answer, and once a second while there are questions under way.
            observer: told the same; it raises nothing.
            bounded: progress shows how many questions there are.
            ends_run: errors after which no other question is worth asking: they are raised as soon as they come.
        """
        self._names = classes.names
        self._questions = questions
        self._progress = progress
        self._observer = observer
        self._bounded = bounded
        self._ends_run = ends_run
        self._asked = {"captions": 0, "look-alikes": 0}
        self._ended = {"captions": 0, "look-alikes": 0}
        self._tasks: dict[Update, list[Question]] = {}
        questions.on_heartbeat(self._beat)

    def ask(self, update: Update, group: asyncio.TaskGroup) -> None:
        """Ask everything that an update asks for; `answers` gives what came of it."""
        if isinstance(update, EnsUpdate | JudgeUpdate):
            self._tasks[update] = [group.create_task(self._caption(item)) for item in update.asked]
            self._asked["captions"] += len(update.asked)
        else:
            self._tasks[update] = [group.create_task(self._look_alikes(index)) for index in update.asked]
            self._asked["look-alikes"] += len(update.asked)

    async def answers(self, update: Update) -> list[Outcome | ImageError]:
        """Wait for the endings of what an update has asked for, in its order. They are given once."""
        return [await question for question in self._tasks.pop(update)]

    async def _caption(self, item: Candidate) -> Outcome | ImageError:
        if item.ref is None:
            return ImageError(item.name, "cannot be shown: only its features were kept")
        class_name = self._names[item.predicted]
        outcome: Outcome | ImageError
        try:
            outcome = await self._questions.describe(item.ref, class_name)
        except ImageError as error:
            # the file was there when CLIP read it; the picture keeps its place in the history
            outcome = error
        self._observer.answered(AnsweredQuestion("ens", item.name, class_name, item.ref, outcome))
        self._end("captions", outcome)
        return outcome

    async def _look_alikes(self, index: int) -> Outcome | ImageError:
        name = self._names[index]
        outcome = await self._questions.look_alikes(name)
        self._observer.answered(AnsweredQuestion("vsnl", name, name, None, outcome))
        self._end("look-alikes", outcome)
        return outcome

    def _end(self, stage: str, outcome: Outcome | ImageError) -> None:
        if isinstance(outcome, ImageError):
            return
        if isinstance(outcome.error, self._ends_run):
            raise outcome.error
        self._ended[stage] += 1
        self._show(stage)

    def _show(self, stage: str) -> None:
        total = self._asked[stage] if self._bounded else None
        self._progress(ProgressEvent(stage, self._ended[stage], total, self._questions.in_words()))

    def _beat(self) -> None:
        self._observer.stands(*self._questions.standing)
        # a bar that only moves with answers cannot tell waiting from stuck
        for stage, asked in self._asked.items():
            if self._ended[stage] < asked:
                self._show(stage)
