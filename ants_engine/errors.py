"""Every error that ants_engine raises, in one tree. A leaf's name says the cause.

::

    ANTSError
    ├── UsageError                      your input or settings: correct them and call again
    │   ├── SettingError                a setting is unknown, or its value does not fit
    │   ├── ClassListError              the ID classes: none, blank, duplicate, too long
    │   ├── NoImagesError               nothing to look at
    │   ├── FeatureError                features of the wrong shape, kind or model
    │   ├── LexiconError                a lexicon file that cannot be used
    │   ├── TemplateError               a prompt template is missing, malformed or misses a variable
    │   ├── UnknownBackendError         no backend of that name is installed
    │   ├── MissingDependencyError      an optional package is not installed
    │   ├── ModelNotFoundError          weights or processor files cannot be found or read
    │   └── DetectorFolderError         a saved detector that cannot be loaded
    ├── ImageError                      one picture
    │   ├── ImageNotFoundError          no such file
    │   ├── ImageUnreadableError        not a picture, truncated, or of a kind that cannot be decoded
    │   ├── ImageTooLargeError          more bytes or pixels than allowed
    │   ├── ImageRefusedError           from a place that is not allowed, or not what was saved
    │   └── ImageFetchError             a web address that gave no picture
    ├── BackendError                    one request to the MLLM
    │   ├── TransientBackendError       worth asking again; carries ``retry_after``
    │   │   ├── BackendTimeoutError     no answer in time
    │   │   ├── BackendUnavailableError the server cannot be reached, or answers 5xx
    │   │   │   └── OverloadedError     the server has more to do than it can (503)
    │   │   └── RateLimitError          asked too fast
    │   ├── FinalBackendError           asking again would not help
    │   │   ├── AuthenticationError     key missing or refused
    │   │   ├── QuotaError              the account's quota is spent
    │   │   ├── BadRequestError         the server, or the model, cannot take this request
    │   │   └── ProtocolError           an answer that is not of the agreed shape
    │   └── UnusableAnswerError         an answer came, and it is none
    │       ├── EmptyAnswerError        nothing in it but blanks, reasoning, or the question
    │       ├── RefusedAnswerError      the MLLM declined
    │       └── TruncatedAnswerError    cut off by a limit, or it ends within its reasoning
    ├── StoreError                      the response store on disk
    │   ├── StoreCorruptedError         an entry, or the database, is damaged
    │   ├── StoreUnavailableError       the folder cannot be written or opened
    │   ├── ReplayMissError             replay was asked for an answer that was never recorded
    │   └── CassetteError               a cassette file that is cut off or malformed
    ├── BudgetSpentError                the run has used up what it was allowed; everything answered is kept
    └── NotEnoughAnswersError           too few requests were answered to build a detector
                                        (also an ``ExceptionGroup``: one exception per cause)
"""

from collections.abc import Sequence


class ANTSError(Exception):
    """Base of every error that this package raises on purpose."""

    def __str__(self) -> str:
        """Return the message, fit to be printed and logged also where it names a file whose name is not UTF-8."""
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class UsageError(ANTSError):
    """The call, its input or its settings need correcting."""


class SettingError(UsageError):
    """A setting is unknown, or its value does not fit."""


class ClassListError(UsageError):
    """The ID class list cannot be used."""


class NoImagesError(UsageError):
    """There is no picture to look at."""


class FeatureError(UsageError):
    """Features have the wrong shape, dtype or content, or come from another model."""


class LexiconError(UsageError):
    """A lexicon cannot be used."""


class TemplateError(UsageError):
    """A prompt template is missing, malformed, or misses a variable."""


class UnknownBackendError(UsageError):
    """No backend of that name is installed."""


class MissingDependencyError(UsageError):
    """An optional package is needed and not installed."""


class ModelNotFoundError(UsageError):
    """A model's weights or processor files cannot be found or read."""


class DetectorFolderError(UsageError):
    """A saved detector cannot be loaded."""


class ImageError(ANTSError):
    """One picture cannot be used. ``name`` is what the picture is called."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class ImageNotFoundError(ImageError):
    """There is no such file."""


class ImageUnreadableError(ImageError):
    """The bytes cannot be decoded as a picture."""


class ImageTooLargeError(ImageError):
    """The picture has more bytes or pixels than the settings allow."""


class ImageRefusedError(ImageError):
    """The picture is at a place that is not allowed, or is not the one that was saved."""


class ImageFetchError(ImageError):
    """A web address gave no picture: unreachable, too slow, or something else was sent."""


class BackendError(ANTSError):
    """One request to an MLLM went wrong."""

    sent = True
    """False where nothing has left this machine: such a try counts against no limit and no budget."""


class TransientBackendError(BackendError):
    """Worth asking again. ``retry_after`` is the server's wish in seconds, if it named one."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BackendTimeoutError(TransientBackendError):
    """No answer in time."""


class BackendUnavailableError(TransientBackendError):
    """The server cannot be reached, or it answers with a server error.

    ``down`` says that no server answered: no connection, a connection that was cut, 502, 503 or 504. While every call
    ends so, it is an outage, which is waited out and uses up no question's tries.
    """

    down = False


class OverloadedError(BackendUnavailableError):
    """The server has more to do than it can: fewer requests at once may help."""

    down = True


class RateLimitError(TransientBackendError):
    """Asked too fast."""


class FinalBackendError(BackendError):
    """Asking again would not help."""


class AuthenticationError(FinalBackendError):
    """The key is missing or refused."""


class QuotaError(FinalBackendError):
    """The account's quota is spent."""


class BadRequestError(FinalBackendError):
    """The server or the model cannot take this request."""


class ProtocolError(FinalBackendError):
    """The answer is not of the agreed shape."""


class UnusableAnswerError(BackendError):
    """An answer came, and it is none."""


class EmptyAnswerError(UnusableAnswerError):
    """There is nothing in the answer but blanks, reasoning, or the question."""


class RefusedAnswerError(UnusableAnswerError):
    """The MLLM declined to answer."""


class TruncatedAnswerError(UnusableAnswerError):
    """The answer was cut off by a limit, or ends within its reasoning."""


class StoreError(ANTSError):
    """The response store on disk."""


class StoreCorruptedError(StoreError):
    """An entry or the whole database is damaged."""


class StoreUnavailableError(StoreError):
    """The store's folder cannot be opened or written."""


class ReplayMissError(StoreError):
    """Replay was asked for an answer that was never recorded."""


class CassetteError(StoreError):
    """A cassette file is cut off or malformed."""


class BudgetSpentError(ANTSError):
    """The run has used up the requests, tokens or money that it was allowed. Everything answered is kept."""


class NotEnoughAnswersError(ANTSError, ExceptionGroup[Exception]):
    """Too few requests were answered; ``exceptions`` holds each cause once."""

    def __new__(cls, message: str, exceptions: Sequence[Exception]) -> "NotEnoughAnswersError":
        """Group the causes, each once."""
        return ExceptionGroup.__new__(cls, message, exceptions)

    def derive(self, excs: Sequence[Exception]) -> "NotEnoughAnswersError":  # type: ignore[override]
        """Keep the type when the group is split."""
        return NotEnoughAnswersError(self.message, excs)
