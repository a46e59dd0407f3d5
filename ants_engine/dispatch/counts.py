"""How far a run is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one coordinator, at one moment."""

    asked: int = 0
    """Handed in so far, less those that were cancelled."""
    answered: int = 0
    """Ended with an answer, from wherever."""
    from_store: int = 0
    """Of these, out of the store."""
    failed: int = 0
    """Ended with an error."""
    in_flight: int = 0
    """With the backend right now."""
    storing: int = 0
    """Answered, and on the way to the disk."""
    retrying: int = 0
    """Pausing before another try."""
    sharing: int = 0
    """Being asked by another process that has the same store."""

    @property
    def waiting(self) -> int:
        """For a slot, or for the store."""
        busy = self.in_flight + self.storing + self.retrying + self.sharing
        return self.asked - self.answered - self.failed - busy
