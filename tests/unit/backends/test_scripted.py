import asyncio
import json
import os

import pytest
from pydantic import ValidationError

from ants_engine import errors
from ants_engine.backends.scripted import ScriptedBackend, ScriptedOptions, Shows, verify_or_describe
from ants_engine.dispatch.prompt_template import TemplateLibrary
from ants_engine.method.verify import Says, VerdictReader, Verification
from ants_engine.protocol import Answer
from tests.support.pictures import call, picture


async def ask(backend, prompt, shown=None):
    return (await backend.generate(call(prompt, shown))).text


async def test_the_longest_matching_part_wins():
    backend = ScriptedBackend(ScriptedOptions(answers={"wolf": "dog", "a grey wolf": "husky"}))
    assert await ask(backend, "what looks like a grey wolf?") == "husky"
    assert await ask(backend, "what looks like a wolf?") == "dog"


async def test_expressions_come_after_parts_and_before_the_default():
    backend = ScriptedBackend(
        ScriptedOptions(answers={"re:w.lf": "dog", "wolf": "fox", "re:^d": "what"}, default="no idea")
    )
    assert await ask(backend, "a wolf") == "fox"
    assert await ask(backend, "a wulf") == "dog"
    assert await ask(backend, "dwlf") == "what"
    assert await ask(backend, "cat") == "no idea"


async def test_a_picture_comes_first():
    shown = picture(1)
    backend = ScriptedBackend(ScriptedOptions(answers={shown.sha256: "a ball", "Describe": "a box"}))
    assert await ask(backend, "Describe it", shown) == "a ball"
    assert await ask(backend, "Describe it", picture(2)) == "a box"
    assert await ask(backend, f"Describe {shown.sha256}") == "a box"


async def test_a_list_is_given_in_turn_and_its_last_stays():
    backend = ScriptedBackend(
        ScriptedOptions(answers={"x": ["one", {"error": "RateLimitError", "retry_after": 2.5}, "three"]})
    )
    assert await ask(backend, "x") == "one"
    with pytest.raises(errors.RateLimitError) as caught:
        await ask(backend, "x")
    assert caught.value.retry_after == 2.5
    assert [await ask(backend, "x") for _ in range(2)] == ["three", "three"]


LEAVES = [
    "AuthenticationError", "BackendTimeoutError", "BackendUnavailableError", "BadRequestError", "EmptyAnswerError",
    "ProtocolError", "QuotaError", "RateLimitError", "RefusedAnswerError", "TruncatedAnswerError",
]  # fmt: skip


@pytest.mark.parametrize("name", LEAVES)
async def test_every_failure_can_be_played(name):
    backend = ScriptedBackend(ScriptedOptions(default={"error": name, "message": "as told"}))
    with pytest.raises(getattr(errors, name), match="as told"):
        await ask(backend, "x")


@pytest.mark.parametrize("name", ["ValueError", "BackendError", "TransientBackendError", "StoreError"])
def test_only_leaves_of_backend_error_are_failures(name):
    with pytest.raises(ValidationError, match="RateLimitError"):
        ScriptedOptions(default={"error": name})


@pytest.mark.parametrize("reply", [{}, {"text": "a", "error": "RateLimitError"}, {"txt": "a"}])
def test_a_reply_is_one_thing(reply):
    with pytest.raises(ValidationError):
        ScriptedOptions(default=reply)


async def test_no_answer_is_an_error_that_shows_the_question():
    backend = ScriptedBackend(ScriptedOptions(answers={"wolf": "dog"}))
    with pytest.raises(errors.BadRequestError, match="'name a cat'"):
        await ask(backend, "name a cat")


async def test_calls_and_their_overlap_are_kept():
    backend = ScriptedBackend(ScriptedOptions(default="yes", delay=0.01))
    calls = [call(f"question {i}") for i in range(5)]
    await asyncio.gather(*(backend.generate(one) for one in calls))
    assert backend.calls == calls
    assert backend.peak_in_flight == 5


async def test_finish_reason_and_delay_of_one_reply():
    backend = ScriptedBackend(
        ScriptedOptions(default={"text": "a re", "finish_reason": "length", "delay": 0.0}, delay=60)
    )
    assert await backend.generate(call("x")) == Answer(text="a re", finish_reason="length")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps({"answers": {"wolf": ["dog", "fox"]}, "default": "none"})),
        ("a.toml", 'default = "none"\n[answers]\nwolf = ["dog", "fox"]\n'),
    ],
)
async def test_table_in_a_file(tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content)
    backend = ScriptedBackend(ScriptedOptions(answers=str(file)))
    inline = ScriptedBackend(ScriptedOptions(answers={"wolf": ["dog", "fox"]}, default="none"))
    assert [await ask(backend, "wolf"), await ask(backend, "wolf"), await ask(backend, "x")] == ["dog", "fox", "none"]
    assert await backend.identity() == await inline.identity()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        ("answers = ", "neither TOML nor JSON"),
        ("answers = " + "[" * 100_000, "neither TOML nor JSON"),
        ("[answers]\nx = 3\n", "answers.x"),
        ('[answers]\nx = "y"\n[extra]\n', "extra"),
        ('default = "x"\n', "answers"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, says):
    file = tmp_path / "answers.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(errors.SettingError, match=says):
        ScriptedBackend(ScriptedOptions(answers=file))


def test_what_has_no_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(errors.SettingError, match="it is not a file"):
            ScriptedBackend(ScriptedOptions(answers=str(place)))


def test_a_bad_expression_is_named():
    with pytest.raises(errors.SettingError, match=r"re:\("):
        ScriptedBackend(ScriptedOptions(answers={"re:(": "x"}))


async def test_identity_is_the_content():
    one = await ScriptedBackend(ScriptedOptions(answers={"a": "1", "b": "2"})).identity()
    same = await ScriptedBackend(ScriptedOptions(answers={"b": "2", "a": "1"}, delay=1)).identity()
    other = await ScriptedBackend(ScriptedOptions(answers={"a": "1", "b": "3"})).identity()
    assert one == same != other
    json.dumps(one)


async def test_callable_plain_and_async():
    async def slow(asked):
        await asyncio.sleep(0)
        return Answer(text=asked.prompt.upper(), completion_tokens=1)

    assert await ask(ScriptedBackend.from_callable(lambda asked: asked.prompt[::-1]), "abc") == "cba"
    backend = ScriptedBackend.from_callable(slow, ScriptedOptions(model="upper"))
    assert await backend.generate(call("abc")) == Answer(text="ABC", completion_tokens=1)
    assert await backend.identity() == {"backend": "scripted", "model": "upper"}


async def test_claims_are_kept():
    backend = ScriptedBackend(ScriptedOptions(default="x", pictures=False, max_concurrency=3))
    assert (backend.capabilities.pictures, backend.capabilities.max_concurrency) == (False, 3)
    with pytest.raises(errors.BadRequestError):
        await ask(backend, "x", picture())
    with pytest.raises(errors.BadRequestError):
        await ask(ScriptedBackend(ScriptedOptions(default="x", text_only=False)), "x")


async def test_closed():
    backend = ScriptedBackend(ScriptedOptions(default="x"))
    await backend.aclose()
    await backend.aclose()
    with pytest.raises(errors.UsageError, match="closed"):
        await ask(backend, "x")


def test_options_refuse_what_they_do_not_know():
    with pytest.raises(ValidationError, match="answer\n"):
        ScriptedOptions(answer="x")


NAMES = ["lion", 'a "b"', "sea lion"]


def pictures_of(name, sentence="a wolf in the snow"):
    return {"shows": lambda _: Shows(name, sentence)}


async def verdicts(name, asked, *, pictures=400, **options):
    prompt = TemplateLibrary().load("ens/v3").render(max_words=8, class_name=asked)
    backend = ScriptedBackend.from_callable(verify_or_describe(**pictures_of(name), **options))
    reader = VerdictReader(NAMES, 24)
    said = [await ask(backend, prompt, shown) for shown in map(picture, range(pictures))]
    return [reader.read(text, NAMES.index(asked)) for text in said]


@pytest.mark.parametrize("asked", NAMES)
@pytest.mark.parametrize("name", [*NAMES, None])
async def test_verify_or_describe_tells_the_truth(name, asked):
    right = (
        Verification(Says.OOD, sentence="a wolf in the snow")
        if name is None
        else Verification(Says.ASKED if name == asked else Says.OTHER, NAMES.index(name))
    )
    assert await verdicts(name, asked, pictures=2) == [right, right]


async def test_its_errors_come_at_the_rates_and_are_the_same_each_time():
    known = [verdict.is_id for verdict in await verdicts("lion", "lion", yes=0.8, seed=3)]
    foreign = [verdict.is_id for verdict in await verdicts(None, "lion", false_yes=0.1, seed=3)]
    assert sum(known) / 400 == pytest.approx(0.8, abs=0.06)
    assert sum(foreign) / 400 == pytest.approx(0.1, abs=0.05)
    assert known == [verdict.is_id for verdict in await verdicts("lion", "sea lion", yes=0.8, seed=3)]
    assert known != [verdict.is_id for verdict in await verdicts("lion", "lion", yes=0.8, seed=4)]


async def test_without_a_picture_another_function_answers():
    told = verify_or_describe(**pictures_of(None), without_picture=lambda asked: asked.prompt.upper())
    assert await ask(ScriptedBackend.from_callable(told), "abc") == "ABC"
    with pytest.raises(errors.BadRequestError, match="no picture"):
        await ask(ScriptedBackend.from_callable(verify_or_describe(**pictures_of(None))), "abc")
