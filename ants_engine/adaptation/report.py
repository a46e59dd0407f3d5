"""What is told of a stream: what one batch changed, and what happened over all."""

from dataclasses import dataclass, field

from ants_engine.build_report import BuildReport


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Where a stream stood when it scored one batch."""

    batch: int
    """The batch, from 1."""
    pictures: int
    """Pictures delivered so far, this batch and unreadable ones included."""
    gamma: float
    """A later picture with an initial score below it is a candidate."""
    weight: float
    """Lambda that this batch was scored with."""
    threshold: float
    ens_updates: int
    """How often captions have been asked for."""
    captions_asked: int | None
    """Captions that this batch asked for; None when it asked for none, 0 when there was nothing to show."""
    look_alikes_asked: int | None
    """Classes whose look-alikes this batch asked for; None when it was not looked after."""
    ens_texts: int
    vsnl_texts: int
    """Sizes of the banks that this batch was scored with."""
    pending: int
    """Updates that are asked for and not in effect yet."""
    waited: float
    """Seconds that scoring stood still for the MLLM."""


@dataclass(slots=True)
class StreamReport(BuildReport):
    """What has happened in a stream so far; it stays small however long that is."""

    tasks: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Per task (``ens``, ``vsnl``): questions that have ended, and how many of them have no usable answer."""
