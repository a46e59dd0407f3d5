"""The one row of the store that is no entry: the models that were asked."""

from collections.abc import Iterable, Mapping

from ants_engine.dispatch.canonical import canonical, digest
from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.storage.entry import DamagedEntryError, seal, unseal

IDENTITIES = digest(canonical("identities"))
"""The row's key."""


def write_identities(recorded: Iterable[RecordedIdentity]) -> bytes:
    """Spell the list for the store, the latest last."""
    return seal({"identities": [each.parts() for each in recorded]})


def read_identities(data: bytes) -> list[RecordedIdentity]:
    """Read and verify what `write_identities` returned.

    Raises:
        DamagedEntryError: it is not what was written.
        NewerEntryError: of a later form.
    """
    listed = unseal(data).get("identities")
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
        raise DamagedEntryError("not a list of models")
    try:
        return [RecordedIdentity.from_parts(each) for each in listed]
    except ValueError as error:
        raise DamagedEntryError(str(error)) from error
