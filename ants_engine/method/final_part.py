"""The part of an MLLM's answer that is meant for the reader: without a model's reasoning and chat-template marks."""

import re
from collections import deque

# the families of marks that reasoning models put around their thoughts; an opening one may stand in the prompt
_THOUGHT = (
    r"(?:seed:|ant(?:ml)?:?)?(?:think(?:ing)?|thoughts?)(?:[ _]process)?|(?:internal|inner)_(?:thoughts?|monologue)"
)
_OTHER = r"reason(?:ing)?|reflect(?:ion)?|analysis|scratch_?pad|chain_of_thought|cot|seed:cot_budget_reflect"
_MARK = re.compile(
    rf"""(?:<|&lt;)(?P<tag_end>/)?(?P<tag>{_THOUGHT}|{_OTHER})(?:\s[^<>\n]{{0,80}})?(?:>|&gt;)
      | <\|(?P<bar_end>/|end_(?:of_)?)?(?:begin_(?:of_)?|start_(?:of_)?)?
          (?P<bar>{_THOUGHT}|{_OTHER})(?P<bar_tail>_start|_end)?\|>
      | \[(?P<square_end>/)?(?P<square>(?-i:THINK(?:ING)?|THOUGHTS?|REASONING|REFLECTION|ANALYSIS))\]
      | ◁(?P<wedge_end>/)?(?P<wedge>think)▷
      | (?P<pipe><\|channel>\s*(?:thought|analysis)) | (?P<pipe_end><channel\|>)
      | (?P<unused><unused94>) | (?P<unused_end><unused95>)""",
    re.IGNORECASE | re.VERBOSE,
)

# gpt-oss ("harmony"): messages on channels; one that lost its special tokens begins with the bare word
_CHANNEL = re.compile(
    r"(?:<\|channel\|>|\A)\s*(analysis|commentary|final)\b[^<>]{0,80}(?:<\|constrain\|>\w{0,20})?<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_CHANNEL = re.compile(r"\A\s*(?:analysis|commentary)(?=[A-Z\"'])")
_BARE_FINAL = re.compile(r"(?:assistant)\s{0,4}final(?=[^a-z]|\Z)")

_ANSWER = re.compile(
    r"<(?P<tag>answer|final_?answer|final|output|solution|response|conclusion)>|<\|begin_of_(?:solution|box)\|>"
    r"|<\|START_RESPONSE\|>|\[BEGIN FINAL RESPONSE\]",
    re.IGNORECASE,
)
_ANSWER_END = re.compile(
    r"</(?:answer|final_?answer|final|output|solution|response|conclusion)>|<\|end_of_(?:solution|box)\|>"
    r"|<\|END_RESPONSE\|>|\[END FINAL RESPONSE\]",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\s?\{")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\s?\{([^{}]{0,400})\}")

_DRESS = r"[ \t#*_>-]{0,12}"
_THOUGHT_HEADING = re.compile(
    rf"\A\s{{0,12}}{_DRESS}(?:(?:here(?:'s|\ is|\ are)\ )?(?:my|the)\ )?(?:internal\ |step[- ]by[- ]step\ )?"
    rf"(?:(?P<plain>(?:reasoning|thinking|thoughts?)(?:\ steps|\ process)?|chain[- ]of[- ]thought)"
    rf"|analysis|rationale|explanation|step[- ]by[- ]step)[*_]{{0,3}}\s?(?::|(?=\n))",
    re.IGNORECASE,
)
_ANSWER_HEADING = re.compile(
    rf"(?:(?<=\n)|(?<=[.!?]\ )|(?<=\s)(?=(?-i:(?:Final\ )?Answer:)))"
    rf"{_DRESS}(?:here(?:'s|\ is)\ )?(?:(?:so\ )?(?:my|the)\ )?(?:final\ |short\ )?"
    rf"(?:answer|response|caption|description|sentence|output|conclusion|list)(?:\ is)?[*_]{{0,3}}\s?"
    rf"(?::[*_]{{0,3}}|(?=\n))",
    re.IGNORECASE,
)
_FINAL_ANSWER = re.compile(
    rf"(?:(?<=\n)|(?<=[.!?]\ )){_DRESS}(?:the\ |my\ )?final\ answer(?:\ is)?[*_]{{0,3}}\s?:[*_]{{0,3}}", re.I
)
_BREAK = re.compile(r"\n\s{0,80}\n|\n(?=\s{0,8}(?:\d{1,2}[.)]|[-*•])\s)")

# what parts one turn of a conversation from the next, where a server lets the template through
_ASSISTANT = (
    r"<\|im_start\|>\s{0,2}assistant|<\|start_header_id\|>\s{0,2}assistant\s{0,2}<\|end_header_id\|>"
    r"|<start_of_turn>\s{0,2}model|<\|turn>\s{0,2}model|<\|?assistant\|?>|<｜Assistant｜>|<\|start\|>\s{0,2}assistant"
    r"|\[/INST\]|^#{2,4}\s?(?:response|assistant|output|answer)\b\s?:?|^(?-i:ASSISTANT)\s?:"
)
_OTHERS = (
    r"<\|im_start\|>\s{0,2}\w{0,12}|<\|start_header_id\|>\s{0,2}\w{0,12}\s{0,2}<\|end_header_id\|>|<start_of_turn>\s{0,2}\w{0,12}"
    r"|<\|turn>\s{0,2}\w{0,12}|<\|?(?:user|system)\|?>|<｜User｜>|\[INST\]|<<SYS>>|^#{2,4}\s?(?:instructions?|input|user|human|question|system)\b\s?:?"
    r"|^(?-i:USER|User|HUMAN|Human)\s?:"
    r"|<\|(?:im_end|eot_id|eom_id|end|endoftext|end_of_text|end_of_turn|return|end_of_sentence)\|>|</s>|<end_of_turn>|<turn\|>|<eos>"
    r"|<｜end▁of▁sentence｜>|<\|(?:END_OF_TURN_TOKEN|END_TEXT)\|>"
)
_TURN = re.compile(rf"(?P<assistant>{_ASSISTANT})|(?:{_OTHERS})", re.IGNORECASE | re.MULTILINE)


def final_part(text: str) -> str | None:
    r"""Return what an answer says after its reasoning; other text stays as it is, marks of the chat template too.

    Understands ``<think>`` and its kin (``[THINK]``, ``<reasoning>``, ``◁think▷``, ``<|begin_of_thought|>``, channels
    …), also where only the closing mark was sent as the prompt ended with the opening one; ``<answer>``, ``\boxed{}``
    and headings such as "Reasoning: … Answer: …".

    Args:
        text: the answer as it came. The cost is linear in its length.

    Returns:
        The final part; empty when there is nothing besides the reasoning. ``None`` when reasoning was begun and never
        ended: the answer was cut off before its final part.
    """
    spoken = _last_channel(text)
    spoken = None if spoken is None else _after_thoughts(spoken)
    if spoken is None:
        return None
    return _under_heading(_marked_answer(spoken))


def one_turn(text: str) -> str:
    """Return the assistant's first turn of a text with marks of a chat template in it; a text without them as it is."""
    says, start = True, 0
    for mark in _TURN.finditer(text):
        piece = text[start : mark.start()]
        if says and any(map(str.isalpha, piece)):
            return piece
        says, start = mark["assistant"] is not None, mark.end()
    last = text[start:]
    return last if says and any(map(str.isalpha, last)) else text


def _last_channel(text: str) -> str | None:
    last = _last(_CHANNEL, text)
    if last is not None:
        if last[1] != "final":
            return None
        end = _CHANNEL_END.search(text, last.end())
        return text[last.end() : end.start() if end else len(text)]
    if _BARE_CHANNEL.match(text):
        last = _last(_BARE_FINAL, text)
        return None if last is None else text[last.end() :]
    return text


def _after_thoughts(text: str) -> str | None:
    """Take out thoughts; ``None`` when one is begun and never ended."""
    thinks: str | None = None
    said: list[str] = []
    start = 0
    for mark in _MARK.finditer(text):
        family, ends = _read_mark(mark)
        if thinks is None and not ends:
            said.append(text[start : mark.start()])
            thinks = family
        elif thinks is None:
            # begun in the prompt: all that came so far is thought
            said, start = [], mark.end()
        elif ends and family == thinks:
            thinks, start = None, mark.end()
        # a mark within a thought is talk about marks
    if thinks is not None:
        return None
    last = text[start:]
    return last if not said or any(map(str.isalnum, last)) else " ".join(said)


def _read_mark(mark: "re.Match[str]") -> tuple[str, bool]:
    """Return which family a mark is of, and whether it ends a thought."""
    for kind in ("tag", "bar", "square", "wedge"):
        if mark[kind] is not None:
            name = mark[kind].casefold()
            ends = bool(mark[f"{kind}_end"]) or (kind == "bar" and mark["bar_tail"] == "_end")
            return ("think" if "th" in name else name[:6]), ends
    kind = "pipe" if mark["pipe"] or mark["pipe_end"] else "unused"
    return kind, mark[f"{kind}_end"] is not None


def _marked_answer(text: str) -> str:
    """Return what stands between the marks of an answer, if there are any."""
    found: list[str] = []
    start = 0
    while (begin := _ANSWER.search(text, start)) is not None:
        end = _ANSWER_END.search(text, begin.end())
        start = end.end() if end else len(text)
        found.append(text[begin.end() : end.start() if end else len(text)])
    marked = "\n".join(piece for piece in found if any(map(str.isalnum, piece)))
    return _boxed(marked or text)


def _boxed(text: str) -> str:
    begin = _last(_BOXED, text)
    if begin is None:
        return text
    depth, end = 1, begin.end()
    while end < len(text) and depth:
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
    inner = _LATEX_TEXT.sub(r"\1", text[begin.end() : end - 1 if not depth else end])
    return inner if any(map(str.isalnum, inner)) else text


def _under_heading(text: str) -> str:
    """Return what stands under the last heading of an answer where a heading of reasoning comes first."""
    heading = _THOUGHT_HEADING.match(text)
    last = _last(_ANSWER_HEADING if heading else _FINAL_ANSWER, text)
    if last is not None and any(map(str.isalnum, text[last.end() :])):
        return text[last.end() :]
    if heading is None or heading["plain"] is None:
        return text
    # the paragraph under the heading is thought
    end = _BREAK.search(text, heading.end())
    return text[end.start() :] if end else ""


def _last(pattern: "re.Pattern[str]", text: str) -> "re.Match[str] | None":
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)
