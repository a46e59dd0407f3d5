"""The effect of every setting on a detector that is already built, as one table.

A saved detector keeps its settings. Some may be changed when it is loaded; others are part of its banks and features,
and changing those is refused. `check_changes` decides, and `ants_engine.learning.changed_settings` applies the changes.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ants_engine.errors import SettingError
from ants_engine.settings.config import Settings


class Use(Enum):
    """When a changed setting takes effect."""

    SCORING = "changes the detector at once: `score`, `explain`, reports, streams and `save` use it"
    STREAM = "used by streams from now on; what they have learned stays"
    RUN = "used from now on, wherever pictures are read and CLIP runs"
    START = "what a stream begins with: fixed once the detector has seen a picture"
    BUILD = "fixed when the detector is built"
    BASELINE = "of a baseline that `ants eval` runs; no part of a detector"


@dataclass(frozen=True, slots=True)
class SettingUse:
    """One row of the table."""

    use: Use
    needs: str | None = None
    """Another setting that decides whether this one is used."""
    values: tuple[Any, ...] = ()
    """The values of ``needs`` for which it is used; empty: any value but None."""


def _each(use: Use, stage: str, names: str, needs: str | None = None, *values: Any) -> dict[str, SettingUse]:
    return {f"{stage}{name}": SettingUse(use, needs, values) for name in names.split()}


_PAPER, _PUBLIC = ("mining.rule", "lowest_share"), ("mining.rule", "histogram")

USES: Mapping[str, SettingUse] = {
    **_each(Use.SCORING, "", "seed"),
    **_each(Use.BUILD, "", "preset"),
    **_each(Use.RUN, "clip.", "model pretrained device precision batch_size text_batch_size compile cache_dir"),
    **_each(Use.RUN, "clip.", "feature_store"),
    **_each(Use.RUN, "pictures.", "max_pixels max_bytes on_error decode_threads urls url_timeout url_hosts"),
    **_each(Use.BUILD, "text.", "class_template adjective_template"),
    **_each(Use.STREAM, "text.", "feature_cache"),
    **_each(Use.BUILD, "lexicon.", "source id_names"),
    **_each(Use.BUILD, "neglabel.", "count percentile selection"),
    **_each(Use.SCORING, "neglabel.", "groups min_group_length", "neglabel.grouping", "equal"),
    **_each(Use.SCORING, "neglabel.", "grouping"),
    **_each(Use.START, "mining.", "rule"),
    **_each(Use.STREAM, "mining.", "gamma eta"),
    **_each(Use.STREAM, "mining.", "max_images same_picture describe", *_PAPER),
    **_each(Use.STREAM, "mining.", "describe_least", "mining.describe"),
    **_each(Use.STREAM, "mining.", "min_waiting", *_PUBLIC),
    **_each(Use.START, "ens.", "start", *_PUBLIC),
    **_each(Use.STREAM, "ens.", "template max_words bank_size reader max_new_tokens other_template"),
    **_each(Use.STREAM, "ens.", "drop_id_names", "ens.reader", "engine"),
    **_each(Use.STREAM, "ens.", "queue_overflow max_updates", *_PUBLIC),
    **_each(Use.STREAM, "vsnl.", "template labels_per_class rule start_batch interval reader max_new_tokens"),
    **_each(Use.STREAM, "vsnl.", "other_template"),
    **_each(Use.STREAM, "vsnl.", "delta min_classes", "vsnl.rule", "mean_cosine"),
    **_each(Use.STREAM, "vsnl.", "max_classes", "vsnl.rule", "most_frequent"),
    **_each(Use.SCORING, "scoring.", "temperature in_score group_length threshold"),
    **_each(Use.SCORING, "scoring.", "weight", "scoring.in_score", "ada"),
    **_each(Use.SCORING, "scoring.", "random_permute", "scoring.group_length"),
    **_each(Use.SCORING, "scoring.activation.", "enabled"),
    **_each(
        Use.SCORING, "scoring.activation.", "negative_count step gap queue_size", "scoring.activation.enabled", True
    ),
    **_each(Use.SCORING, "threshold.", "false_alarms", "scoring.threshold", "judge", "null"),
    **_each(Use.SCORING, "threshold.", "judge_false_yes", "scoring.threshold", "judge"),
    **_each(Use.STREAM, "threshold.", "questions", "scoring.threshold", "judge"),
    **_each(Use.BASELINE, "eoe.", "task template count beta max_new_tokens"),
    # including the backend's own keys
    **_each(Use.STREAM, "mllm.", "backend image_max_side *"),
    **_each(Use.STREAM, "dispatch.", "mode store max_concurrency requests_per_minute tokens_per_minute attempts"),
    **_each(Use.STREAM, "dispatch.", "attempt_timeout deadline store_patience grace runs min_success"),
    **_each(Use.STREAM, "dispatch.budget.", "requests tokens cost"),
    **_each(Use.STREAM, "dispatch.prices.", "million_prompt_tokens million_completion_tokens request"),
    **_each(Use.STREAM, "stream.", "batch_size lag history"),
    **_each(Use.STREAM, "stream.", "score_history", *_PUBLIC),
    **_each(Use.STREAM, "prompts.", "folder"),
    **_each(Use.RUN, "progress.", "bar"),
}
"""Every setting, by its dotted name."""


def use_of(key: str) -> SettingUse:
    """Return the row of a setting."""
    return USES.get(key) or USES[f"{key.partition('.')[0]}.*"]


def flat(settings: Settings) -> dict[str, Any]:
    """Return every setting by its dotted name; a backend's own keys are not flattened."""
    return dict(_flat(settings.model_dump(), ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and prefix != "mllm.":
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def changes(before: Settings, after: Settings) -> tuple[str, ...]:
    """Name the settings whose values differ."""
    old, new = flat(before), flat(after)
    missing = object()
    return tuple(key for key in {**old, **new} if old.get(key, missing) != new.get(key, missing))


def check_changes(before: Settings, after: Settings, *, untaught: bool, given: bool = True) -> tuple[str, ...]:
    """Name the changed settings that have a use in a built detector.

    Args:
        before: the saved detector's settings.
        after: the new settings.
        untaught: the detector has seen no picture.
        given: the user asked for each change; one without effect is then refused.

    Raises:
        SettingError: a change cannot take effect; says why, and what to do.
    """
    old, new = flat(before), flat(after)
    used, refused = [], []
    for key in changes(before, after):
        row = use_of(key)
        fixed = row.use is Use.BUILD or (row.use is Use.START and not untaught)
        unmet = _unmet(row, new)
        idle = unmet is not None
        if fixed and not (idle and not given):
            when = "when a detector is built" if row.use is Use.BUILD else "once a detector has seen pictures"
            refused.append(
                f"{key} is fixed {when}: this one has {old.get(key)!r}, and {new.get(key)!r} would need another. "
                f"Build again with it (ants build --set {key}=…), or leave it out"
            )
        elif given and row.use is Use.BASELINE:
            refused.append(f"{key} is of the baseline EOE, which `ants eval` runs: a detector has no use for it")
        elif given and unmet is not None:
            wanted = " or ".join(map(repr, unmet.values)) or "a value"
            refused.append(
                f"{key} is used only where {unmet.needs} is {wanted}, and here it is {new[unmet.needs or key]!r}"
            )
        elif not idle and row.use is not Use.BASELINE:
            used.append(key)
    if refused:
        raise SettingError("; ".join(refused))
    return tuple(used)


def named(keywords: Mapping[str, Any]) -> list[str]:
    """Name the settings in nested keywords."""
    return [key for key, _ in _flat(keywords, "")]


def used_by_streams_only(keys: Collection[str]) -> list[str]:
    """Return the settings among ``keys`` that frozen scoring does not use; unknown names are ignored."""
    return sorted(key for key in keys if (key in USES or key.startswith("mllm.")) and use_of(key).use is Use.STREAM)


def _unmet(row: SettingUse, values: Mapping[str, Any]) -> SettingUse | None:
    """Return the row, or one of those that it depends on, whose need is not met; None where all are."""
    if row.needs is None:
        return None
    value = values[row.needs]
    met = value in row.values if row.values else value is not None
    return _unmet(use_of(row.needs), values) if met else row
