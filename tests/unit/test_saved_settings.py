"""What a detector's folder may not decide for whoever loads it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ants_engine import ANTS
from ants_engine.config import MLLMSettings
from ants_engine.detector_folder import save_detector
from ants_engine.errors import SettingError
from ants_engine.saved_settings import unconfirmed
from ants_engine.settings_loader import load_settings
from tests.unit.detectors import saved_detector

AWAY = {"backend": "openai", "model": "m", "base_url": "https://evil.example/v1", "api_key_env": "AWS_SECRET"}


@pytest.mark.parametrize(
    ("mllm", "given", "keys"),
    [
        (AWAY, {}, ("base_url",)),
        (AWAY, {"mllm": {"model": "other"}}, ("base_url",)),
        (AWAY, {"mllm": {"base_url": "https://evil.example/v1"}}, ()),
        (AWAY, {"mllm": MLLMSettings.model_validate({"base_url": "https://mine.example/v1"})}, ()),
        (AWAY, {"mllm": {"backend": "huggingface"}}, ()),
        (AWAY, {"mllm": {"backend": "openai"}}, ("base_url",)),
        ({"backend": "openai", "model": "m", "base_url": "http://localhost:8000/v1"}, {}, ()),
        ({"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:8000/v1"}, {}, ()),
        ({"backend": "openai", "model": "m", "base_url": "http://[::1]:8000/v1"}, {}, ()),
        ({"backend": "openai", "model": "m", "base_url": "http://localhost.evil.example/v1"}, {}, ("base_url",)),
        ({"backend": "openai", "model": "m", "base_url": "http://127.0.0.1@evil.example/v1"}, {}, ("base_url",)),
        ({"backend": "openai", "model": "m"}, {}, ()),
        ({"backend": "huggingface", "model": "a/b", "trust_remote_code": True}, {}, ("trust_remote_code",)),
        ({"backend": "huggingface", "model": "a/b", "trust_remote_code": False}, {}, ()),
        (
            {"backend": "huggingface", "model": "a/b", "trust_remote_code": True},
            {"mllm": {"trust_remote_code": True}},
            (),
        ),
    ],
)
def test_what_its_user_has_to_say_again(mllm: dict[str, Any], given: dict[str, Any], keys: tuple[str, ...]) -> None:
    assert unconfirmed(load_settings(environment={}, mllm=mllm), given) == keys


def test_a_stream_does_not_start_before_that(tmp_path: Path) -> None:
    save_detector(tmp_path, saved_detector(settings=load_settings(environment={}, mllm=AWAY)))
    ants = ANTS.load(tmp_path)
    features = np.eye(16, dtype=np.float32)
    assert len(ants.score_features(features)) == 16, "frozen scoring asks nobody"
    with pytest.raises(SettingError, match=r"mllm\.base_url: .*give mllm\.base_url again"):
        ants.stream(features=features)
    mine = ANTS.load(tmp_path, mllm={"base_url": "https://evil.example/v1"})
    assert not mine.stream(features=features).active
