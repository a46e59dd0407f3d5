"""What passes for a secret, and what only sounds like one."""

import pytest

from ants_engine.dispatch.runs.run_folder import MASK, Redactor, looks_secret
from ants_engine.settings.config import Settings


@pytest.mark.parametrize(
    "name",
    [
        *(
            "api_key",
            "apiKey",
            "APIKey",
            "key",
            "KEY",
            "OPENAI_API_KEY",
            "hf_token",
            "HF-Token",
            "password",
            "db_passwd",
        ),
        *("client_secret", "Authorization", "proxy-authorization", "credentials", "auth", "cookie", "apikey", "keys"),
    ],
)
def test_names_that_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name", ["api_key_env", "tokenizer", "monkey", "author", "model", "keyboard", "secretary", "base_url", "", "_"]
)
def test_names_that_do_not(name: str) -> None:
    assert not looks_secret(name)


def test_settings_keep_all_but_secrets() -> None:
    mllm = {
        "backend": "openai",
        "model": "m",
        "api_key": "abc",
        "api_key_env": "MY_KEY",
        "password": 12345,
        "base_url": "http://me:pw@host/v1?sig=abc",
        "headers": [{"Authorization": "Bearer abc.def", "X-Other": "Bearer abc.def"}],
    }
    given = Settings.model_validate({"mllm": mllm, "ens": {"max_new_tokens": 77}}).model_dump(mode="json")
    kept = Redactor({}).settings(given)
    assert kept["mllm"] == {
        "backend": "openai",
        "image_max_side": 448,
        "model": "m",
        "api_key": MASK,
        "api_key_env": "MY_KEY",
        "password": MASK,
        "base_url": f"http://{MASK}@host/v1?{MASK}",
        "headers": [{"Authorization": MASK, "X-Other": f"Bearer {MASK}"}],
    }
    assert {**kept, "mllm": None} == {**given, "mllm": None}


def test_the_shells_folders_are_no_passwords() -> None:
    redactor = Redactor({"PWD": "/home/me/project", "OLDPWD": "/home/me", "DB_PWD": "hunter2hunter2"})
    told = redactor.settings({"store": "/home/me/project/.ants/store", "note": "hunter2hunter2"})
    assert told == {"store": "/home/me/project/.ants/store", "note": "[set]"}


def test_a_secret_of_the_environment_passes_under_no_name() -> None:
    redactor = Redactor({"MY_API_KEY": "correct-horse", "OTHER_TOKEN": "correct-horse-battery", "HOME": "/root/home"})
    assert redactor.settings({"note": "correct-horse-battery"}) == {"note": MASK}
    assert redactor.text("said correct-horse in /root/home") == f"said {MASK} in /root/home"


def test_short_values_of_variables_do_not_garble_texts() -> None:
    assert Redactor({"API_KEY": "none"}).text("none of it") == "none of it"


def test_messages_lose_keys_and_pictures_and_length() -> None:
    redactor = Redactor({})
    assert redactor.text("key sk-proj-abc123 refused") == f"key sk-{MASK} refused"
    assert redactor.text(f"url data:image/png;base64,{'A' * 5000} bad") == "url [data] bad"
    assert redactor.text("x" + "/9j" * 400) == "[data]"
    assert len(redactor.text("many words " * 100_000)) == 300
    assert redactor.text("basic setup failed") == "basic setup failed"
