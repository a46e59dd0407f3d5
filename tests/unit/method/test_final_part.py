"""What a reasoning model, or a server that lets its template through, really answers is at the end."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.answer import Rejection, clean, clean_sentence, without_echo
from ants_engine.method.final_part import final_part, one_turn
from ants_engine.method.labels import parse_labels

CAT = "A cat on a mat"
THOUGHT = "The user wants a sentence. Maybe: a dog?"
WRAPPED = [
    "<think>{}</think>\n{}",
    "{}\n</think>\n\n{}",
    "<think>\n\n</think>\n\n{1}",
    "<THINK>{}</THINK>{}",
    "<think>{}</thinking>{}",
    "<think>{} I use <think> tags.</think>{}",
    "&lt;think&gt;{}&lt;/think&gt;{}",
    "[THINK]{}[/THINK]{}",
    "{}[/THINK]{}",
    "<thinking>{}</thinking>{}",
    "<thinking>{}<reflection>so</reflection></thinking><output>{}</output>",
    "<thought>{}</thought>{}",
    "<reasoning>{}</reasoning>\n{}",
    "<reflection>{}</reflection>{}",
    "<analysis>{}</analysis>{}",
    "<seed:think>{}<seed:cot_budget_reflect>so</seed:cot_budget_reflect></seed:think>{}",
    "◁think▷{}◁/think▷{}",
    "<|begin_of_thought|>{}<|end_of_thought|><|begin_of_solution|>{}<|end_of_solution|>",
    "<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>",
    "<|thinking|>{}<|/thinking|>{}",
    "<|channel>thought\n{}<channel|>{}",
    "<unused94>thought\n{}<unused95>{}",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "analysis{}assistantfinal{}",
    "<think>{}</think><answer>{}</answer>",
    "{} <answer>{}</answer>",
    "{} So the answer is \\boxed{{\\text{{{}}}}}.",
    "<think>{}</think>\n<|begin_of_box|>{}<|end_of_box|>",
    "Reasoning: {} Answer: {}",
    "**Reasoning:**\n{}\n\n**Answer:** {}",
    "Thought: {}\nFinal Answer: {}",
    "## Thinking\n{}\n\n## Answer\n{}",
    "Analysis: {}\nCaption: {}",
    "Here is my thought process: {}\n\nHere is my response: {}",
    "Here are my reasoning steps:\n{}\n[BEGIN FINAL RESPONSE]\n{}\n[END FINAL RESPONSE]",
    "{}\n\nFinal answer: {}",
    "{1} <reflection>{0}</reflection>",
]


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_the_thought_is_no_part_of_the_answer(wrapper: str) -> None:
    assert clean_sentence(wrapper.format(THOUGHT, CAT + "."), 24) == CAT
    listed = wrapper.format("1. horse maybe\n2. no", "1. wolf\n2. dingo")
    if "analysis{}" not in wrapper:  # which is known by the capital letter that follows
        assert parse_labels(listed).labels == ("wolf", "dingo")


@pytest.mark.parametrize(
    "text",
    [
        "<think>It has fur",
        "[THINK]It has fur",
        "<thinking>It <reflection>has</reflection> fur",
        "◁think▷It has fur",
        "<|begin_of_thought|>It has",
        "<seed:think>It has",
        "<|channel|>analysis<|message|>It has fur",
        "<|channel>thought\nIt has",
        "analysisThe user wants",
        "<|START_THINKING|>It",
        "A cat. <think>Or a dog",
    ],
)
def test_reasoning_that_never_ends_is_a_cut_answer(text: str) -> None:
    assert final_part(text) is None
    assert clean(text) == ""
    assert clean_sentence(text, 24) is Rejection.EMPTY


@pytest.mark.parametrize("text", ["<think>It has fur</think>", "It has fur</think>", "Thinking: it has fur."])
def test_reasoning_alone_is_no_answer(text: str) -> None:
    assert final_part(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "A sign that says think",
        "The Thinker, a statue",
        "Analysis of water in a laboratory",
        "A cat [asleep] on a mat",
        "A final answer sheet on a desk",
        "Answer book on a shelf",
        "A thought bubble",
        "A reason to smile: a puppy",
        "An input and an output jack",
        "A user at a desk",
        "A human: a drawing",
        "A ### pattern",
    ],
)
def test_captions_without_a_wrapper_stay_whole(text: str) -> None:
    assert final_part(text) == one_turn(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "A cat on a mat<|im_end|>\n<|im_start|>user\nA dog?",
        "<|im_start|>assistant\nA cat on a mat<|im_end|>",
        "### Response:\nA cat on a mat",
        "### Instruction:\nLook.\n\n### Response:\nA cat on a mat\n\n### Instruction:\nx",
        "[INST] Look. [/INST] A cat on a mat",
        "A cat on a mat [INST] And? [/INST] A dog",
        "USER: Look.\nASSISTANT: A cat on a mat",
        "<start_of_turn>model\nA cat on a mat<end_of_turn>",
        "<|start_header_id|>assistant<|end_header_id|>\n\nA cat on a mat<|eot_id|>",
        "A cat on a mat</s><s>[INST] x",
        "A cat on a mat\nUser: And?\nAssistant: A dog",
        "<｜Assistant｜>A cat on a mat<｜end▁of▁sentence｜>",
    ],
)
def test_of_a_leaked_template_the_first_turn_counts(text: str) -> None:
    assert clean_sentence(text, 24) == CAT


ASKED = "Look at the picture. Describe what it shows in one short sentence. The picture does not show red apple."


@pytest.mark.parametrize(
    "text",
    [
        ASKED,
        ASKED + "\n",
        f'"{ASKED}"',
        "The picture does not show a red apple.",
        "Describe what it shows.",
        "in one short sentence",
        "Look at the picture. The picture does not show red apple.",
        f"<think>hm</think>{ASKED}",
    ],
)
def test_an_answer_that_repeats_the_question_is_none(text: str) -> None:
    assert without_echo(text, ASKED) == ""


def test_a_question_in_front_of_an_answer_is_left_out() -> None:
    assert without_echo(f"{ASKED}\nA cat on a mat.", ASKED) == "A cat on a mat."
    assert without_echo("Name 5 different things", "Name 5 different things that look like a tiger.") == ""


@pytest.mark.parametrize(
    "text", ["A red apple", "A picture of one apple", "A short pencil", "The sea", "apple", "", "..."]
)
def test_other_answers_are_returned_as_they_came(text: str) -> None:
    assert without_echo(text, ASKED) == text


@pytest.mark.parametrize(
    "unit",
    ["<", "<think>", "</think>", "\n", "[THINK]", "<|channel|>", "Answer: ", "\n# ", "<answer>", "\\boxed{", "{", "<|"],
)
def test_a_huge_answer_costs_nothing(unit: str) -> None:
    started = time.process_time()
    final_part(unit * (500_000 // len(unit)))
    assert time.process_time() - started < 1.0


@given(st.text(max_size=300))
def test_any_text_has_a_final_part_or_was_cut(text: str) -> None:
    part = final_part(text)
    assert part is None or len(part) <= len(text)
    assert one_turn(text) in text


@pytest.mark.parametrize("before", ["You said: ", "Echo: ", "Received prompt: ", "User: "])
def test_a_few_words_before_an_echo_make_no_answer_of_it(before: str) -> None:
    assert without_echo(before + ASKED, ASKED) == ""
    assert without_echo(f"{before}{ASKED}\nA cat on a mat.", ASKED) == "A cat on a mat."
