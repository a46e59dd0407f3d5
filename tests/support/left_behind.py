"""What an error leaves behind for whoever prints all of it."""

import traceback


def everything(error: BaseException) -> str:
    """Spell an error with its causes, its notes and the locals of all its frames but the first, which is the test's."""
    inner = error.__traceback__ and error.__traceback__.tb_next
    shown = traceback.TracebackException(type(error), error, inner, capture_locals=True)
    return "\n".join([*shown.format(), repr(error), repr(vars(error)), repr(error.args)])
