"""How long each stage still takes, estimated as the bar on the terminal does."""

from collections.abc import Mapping

from rich.progress import Progress, TaskID

from ants_engine.common.progress import ProgressEvent


class Eta:
    """Is told of progress; rich's own estimate, from the speed of the last half minute, and nothing shown."""

    def __init__(self) -> None:
        """Begin with no stage."""
        self._progress = Progress(disable=True, auto_refresh=False)
        self._tasks: dict[str, TaskID] = {}

    def note(self, event: ProgressEvent) -> None:
        """Take note of a step."""
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=event.total)
        self._progress.update(self._tasks[event.stage], completed=event.done, total=event.total)

    def seconds(self) -> Mapping[str, float | None]:
        """Return the seconds left of every stage that is under way; None where nothing can be said."""
        tasks = {name: self._progress.tasks[task] for name, task in self._tasks.items()}
        return {name: task.time_remaining for name, task in tasks.items() if not task.finished}
