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
    retrying: int = 0
    """Pausing before another try."""

    @property
    def waiting(self) -> int:
        """For a slot, or for the store."""
        return self.asked - self.answered - self.failed - self.in_flight - self.retrying
