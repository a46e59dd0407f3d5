"""Which settings of a saved detector are applied on loading, and which the user has to confirm.

A folder may come from an untrusted source. A setting is harmless if it affects only results and run time: it cannot
send the user's data elsewhere, write files, run code, or relax a guard. Settings that are not listed as harmless,
including new ones, have to be confirmed.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ants_engine.common.canonical_json import readable
from ants_engine.errors import SettingError
from ants_engine.settings.config import ImageSettings, Settings
from ants_engine.settings.loader import load_settings

_SHOWN = 300
"""Characters of a value in an error."""


def _always(_: Any) -> bool:
    return True


def _empty(value: Any) -> bool:
    return not value


def _here(value: Any) -> bool:
    """A name, or a local path: opening a network path (``//host/share``) may send credentials."""
    return value is None or not str(value).startswith(("//", "\\\\"))


def _table_or_here(value: Any) -> bool:
    return isinstance(value, Mapping) or _here(value)


def _at_most(limit: int) -> Callable[[Any], bool]:
    return lambda value: value <= limit


_WITHOUT_CONDITION = (
    "preset", "seed",
    "clip.device", "clip.precision", "clip.batch_size", "clip.text_batch_size", "clip.compile",
    "pictures.on_error", "pictures.decode_threads", "pictures.url_timeout",
    "text.class_template", "text.adjective_template",
    "lexicon.id_names",
    "neglabel.count", "neglabel.percentile", "neglabel.groups", "neglabel.min_group_length", "neglabel.grouping",
    "neglabel.selection",
    "mining.gamma", "mining.eta", "mining.max_images", "mining.same_picture", "mining.rule", "mining.min_waiting",
    "mining.describe", "mining.describe_least",
    "ens.template", "ens.max_words", "ens.bank_size", "ens.queue_overflow", "ens.start", "ens.max_updates",
    "ens.reader", "ens.drop_id_names", "ens.max_new_tokens", "ens.other_template",
    "vsnl.template", "vsnl.delta", "vsnl.min_classes", "vsnl.labels_per_class", "vsnl.rule", "vsnl.max_classes",
    "vsnl.start_batch", "vsnl.interval", "vsnl.reader", "vsnl.max_new_tokens", "vsnl.other_template",
    "scoring.temperature", "scoring.weight", "scoring.in_score", "scoring.group_length", "scoring.random_permute",
    "scoring.activation.enabled", "scoring.activation.negative_count", "scoring.activation.step",
    "scoring.activation.gap", "scoring.activation.queue_size", "scoring.threshold",
    "threshold.false_alarms", "threshold.questions", "threshold.judge_false_yes",
    "eoe.task", "eoe.template", "eoe.count", "eoe.beta", "eoe.max_new_tokens",
    "mllm.image_max_side",
    "mllm.huggingface.revision", "mllm.huggingface.device", "mllm.huggingface.dtype", "mllm.huggingface.batch_size",
    "mllm.openai.detail", "mllm.openai.max_concurrency", "mllm.openai.timeout", "mllm.openai.limit_parameter",
    "mllm.openai.send_temperature", "mllm.openai.pictures",
    "mllm.scripted.model", "mllm.scripted.default", "mllm.scripted.delay", "mllm.scripted.pictures",
    "mllm.scripted.text_only", "mllm.scripted.max_concurrency",
    "dispatch.mode", "dispatch.max_concurrency", "dispatch.requests_per_minute", "dispatch.tokens_per_minute",
    "dispatch.budget.requests", "dispatch.budget.tokens", "dispatch.budget.cost",
    "dispatch.prices.million_prompt_tokens", "dispatch.prices.million_completion_tokens", "dispatch.prices.request",
    "dispatch.attempts", "dispatch.attempt_timeout", "dispatch.deadline", "dispatch.store_patience", "dispatch.grace",
    "dispatch.min_success",
    "stream.batch_size", "stream.lag", "stream.history", "stream.score_history",
    "progress.bar",
)  # fmt: skip

HARMLESS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_WITHOUT_CONDITION, _always),
    # data of a model that the detector names by its content; no pickle is read, and no code run
    "clip.model": _here,
    "clip.pretrained": _here,
    "mllm.huggingface.model": _here,
    "mllm.scripted.answers": _table_or_here,
    # read by a build alone
    "lexicon.source": _here,
    # models that run here, and a table: pictures stay on this machine
    "mllm.backend": lambda name: name in ("huggingface", "scripted"),
}
"""Settings applied without confirmation: key → whether a value is harmless. Backend options are under its name."""

_NO_MORE = ImageSettings()

GUARDED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "clip.cache_dir": (_empty, "files of models would be written there, and read from there"),
    "clip.feature_store": (_empty, "features of your pictures would be written there, and read from there"),
    "pictures.max_pixels": (_at_most(_NO_MORE.max_pixels), "pictures would be decoded that are refused by default"),
    "pictures.max_bytes": (_at_most(_NO_MORE.max_bytes), "files would be read that are refused by default"),
    "pictures.urls": (lambda value: value == "refuse", "web addresses among the pictures would be fetched"),
    "pictures.url_hosts": (_empty, "pictures would be fetched from these hosts, also in your own network"),
    "text.feature_cache": (_empty, "features of texts would be written there, and read from there"),
    "mllm.huggingface.trust_remote_code": (_empty, "Python code that comes with the model would run here"),
    "mllm.huggingface.cache_dir": (_empty, "files of models would be written there, and read from there"),
    "mllm.openai.model": (_empty, "it decides who sees your pictures, and what that costs"),
    "mllm.openai.base_url": (_empty, "your pictures and your key would be sent there"),
    "mllm.openai.api_key_env": (
        lambda name: name == "OPENAI_API_KEY",
        "what is in that environment variable would be sent to the server",
    ),
    "mllm.openai.extra_body": (_empty, "it would be sent with every question"),
    "dispatch.store": (_empty, "answers would be written there, and read from there"),
    "dispatch.runs": (_empty, "records of runs would be written there"),
    "prompts.folder": (_empty, "the questions to the MLLM would be read from there"),
}
"""Settings that need confirmation unless they are empty or no wider than the default: key → whether they are, and what
would happen."""

_BACKEND = "your pictures would be shown to whatever this backend asks"
_UNKNOWN = "it is not among the settings that a folder may set by itself"


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A setting of a folder that the user has not confirmed."""

    key: str
    """As in ``--set``."""
    value: Any
    """As a JSON value."""
    consequence: str
    """What would happen."""


def unconfirmed(saved: Settings, given: Mapping[str, Any]) -> tuple[Unconfirmed, ...]:
    """List the settings of a folder that the user has to confirm.

    A value equal to the user's own settings (defaults or environment) counts as confirmed.

    Args:
        saved: the folder's settings.
        given: the user's own settings, one mapping (or stage model) per stage; any value for a key confirms it.
    """
    said = {key for key, _ in _leaves(_as_given(given))}
    own = dict(_leaves(_own_settings().model_dump(mode="json")))
    found = []
    for key, value in _leaves(taken_over(saved, given).model_dump(mode="json")):
        if key in said or (key in own and own[key] == value):
            continue
        consequence = _consequence(key, value, _backend(saved, given))
        if consequence:
            found.append(Unconfirmed(key, value, consequence))
    return tuple(found)


def taken_over(saved: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the folder's settings, without its backend's options if the user names another backend."""
    if _backend(saved, given) == saved.mllm.backend:
        return saved
    bare = type(saved.mllm)(image_max_side=saved.mllm.image_max_side)
    return saved.model_copy(update={"mllm": bare})


def refuse_unconfirmed(found: Sequence[Unconfirmed], *, asking: bool, backend_given: bool = False) -> None:
    """Refuse unconfirmed settings.

    Args:
        found: the folder's unconfirmed settings.
        asking: the MLLM is going to be asked; if not, pictures are only read and encoded.
        backend_given: the user passes an MLLM of their own.

    Raises:
        SettingError: one of them matters here; says what it would do, and how to confirm it.
    """
    stages = ("clip.", "pictures.", *(("text.", "dispatch.", "prompts.", "mllm.") if asking else ()))
    known = {stage.partition(".")[0] for stage in ("clip.", "pictures.", "text.", "dispatch.", "prompts.", "mllm.")}
    refused = [
        one
        for one in found
        # an unlisted stage always matters
        if (one.key.startswith(stages) or one.key.partition(".")[0] not in known)
        and not (backend_given and one.key.startswith("mllm."))
    ]
    if refused:
        named = "; ".join(f"{one.key} = {_short(one.value)} ({one.consequence})" for one in refused)
        words = " ".join(f"--set {shlex.quote(f'{one.key}={_assigned(one.value)}')}" for one in refused)
        raise SettingError(
            f"the detector's folder sets {named}. A folder may not decide that for you. If that is what you want, say "
            f"it again: {words} (in Python: ANTS.load(folder, {_keywords(refused)})). Another value counts as well"
        )


def _consequence(key: str, value: Any, backend: str) -> str:
    """Return what a value would do; empty if it is harmless."""
    stage, _, option = key.partition(".")
    if stage == "mllm" and option not in ("backend", "image_max_side"):
        key = f"mllm.{backend}.{option}"
    if key in HARMLESS and HARMLESS[key](value):
        return ""
    if key in GUARDED:
        harmless, consequence = GUARDED[key]
        return "" if harmless(value) else consequence
    return _BACKEND if key == "mllm.backend" else _UNKNOWN


def _backend(saved: Settings, given: Mapping[str, Any]) -> str:
    return str(_as_given(given).get("mllm", {}).get("backend", saved.mllm.backend))


def _as_given(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        for key, value in given.items()
        if value is not None
    }


def _own_settings() -> Settings:
    try:
        return load_settings(environment=os.environ)
    except SettingError:
        # an invalid environment is reported where it is used
        return Settings()


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting by its dotted key; a backend's options are not flattened."""
    for key, value in settings.items():
        if isinstance(value, BaseModel):
            value = value.model_dump(exclude_unset=True)  # noqa: PLW2901
        if isinstance(value, Mapping) and prefix != "mllm.":
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _assigned(value: Any) -> str:
    """Format a value for ``--set``."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return _cut(value)
    return _cut(readable(value))


def _keywords(refused: Sequence[Unconfirmed]) -> str:
    nested: dict[str, Any] = {}
    for one in refused:
        *stages, key = one.key.split(".")
        place = nested
        for stage in stages:
            place = place.setdefault(stage, {})
        place[key] = one.value
    return _cut(", ".join(f"{stage}={value!r}" for stage, value in nested.items()), 4 * _SHOWN)


def _short(value: Any) -> str:
    return _cut(readable(value))


def _cut(text: str, limit: int = _SHOWN) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
