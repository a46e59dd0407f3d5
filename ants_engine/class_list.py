"""The ID classes: their names and the texts that stand for each of them in CLIP."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ants_engine.errors import ClassListError


@dataclass(frozen=True, slots=True)
class ClassList:
    """``names`` (C,) and, for each, one or more prompt texts."""

    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    template: str = "{}"
    """How a further name is written so that it compares with these: the template that the prompts have in common."""
    own_template: bool = True
    """Whether ``template`` is what the prompts were made with, and not a default for want of one in common."""

    def __len__(self) -> int:
        """Return C."""
        return len(self.names)

    @classmethod
    def of(cls, id_classes: Iterable[str] | Mapping[str, str | Iterable[str]], template: str) -> "ClassList":
        """Check what a user gave: names, or a mapping name → prompt text(s).

        Raises:
            ClassListError: none at all, or a blank, duplicate or non-text entry; all of them are named.
        """
        if isinstance(id_classes, (str, bytes)):
            raise ClassListError(f"id_classes is one text ({id_classes[:40]!r}); give a list of names")
        given = list(id_classes.items()) if isinstance(id_classes, Mapping) else [(name, None) for name in id_classes]
        if not given:
            raise ClassListError("id_classes is empty; at least one class name is needed")
        problems: list[str] = []
        first: dict[str, int] = {}
        names: list[str] = []
        prompts: list[tuple[str, ...]] = []
        for position, (name, texts) in enumerate(given):
            if not isinstance(name, str):
                problems.append(f"#{position} is a {type(name).__name__}, not a text")
                continue
            clean = " ".join(name.split())
            if not clean:
                problems.append(f"#{position} is blank")
                continue
            if clean.casefold() in first:
                problems.append(f"#{position} {clean!r} is the same as #{first[clean.casefold()]}")
                continue
            first[clean.casefold()] = position
            own = _prompt_texts(texts, clean, template)
            if own is None:
                problems.append(f"#{position} {clean!r} has a prompt that is blank or no text")
                continue
            names.append(clean)
            prompts.append(own)
        if problems:
            shown = "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
            raise ClassListError(f"id_classes cannot be used: {shown}")
        shared = template if not isinstance(id_classes, Mapping) else _common_template(names, prompts)
        return cls(tuple(names), tuple(prompts), shared or template, shared is not None)

    def check_length(self, fits: Callable[[str], bool]) -> None:
        """Refuse prompts that CLIP's text context would cut.

        Raises:
            ClassListError: names the classes whose text is too long.
        """
        long = [name for name, texts in zip(self.names, self.prompts, strict=True) if not all(map(fits, texts))]
        if long:
            shown = ", ".join(repr(name if len(name) <= 60 else name[:57] + "…") for name in long[:5])
            raise ClassListError(f"longer than the text context of this CLIP model: {shown}; shorten these class texts")


def _common_template(names: list[str], prompts: list[tuple[str, ...]]) -> str | None:
    """Return the one template that a user's own prompts were evidently made with."""
    found = {texts[0].replace(name, "{}") for name, texts in zip(names, prompts, strict=True)}
    if any(len(texts) > 1 for texts in prompts) or len(found) > 1:
        return None
    template = found.pop()
    return template if template.count("{}") == 1 else None


def _prompt_texts(texts: str | Iterable[str] | None, name: str, template: str) -> tuple[str, ...] | None:
    if texts is None:
        # replace, not format: a class name is data and may hold braces
        return (template.replace("{}", name),)
    listed = [texts] if isinstance(texts, str) else list(texts)
    if not listed or not all(isinstance(text, str) and text.strip() for text in listed):
        return None
    return tuple(listed)
