"""An error's words, for another error's message."""

LIMIT = 300
"""Characters kept."""


def one_line(error: BaseException) -> str:
    """Fold an error's text into a line without its full stop; its type's name when it has none."""
    text = " ".join(str(error).split())
    return (text if len(text) <= LIMIT else f"{text[:LIMIT]}…").rstrip(".") or type(error).__name__
