from pathlib import Path

import pytest

from ants_engine.errors import SettingError
from ants_engine.settings.config import MLLMSettings, Settings
from ants_engine.settings.loader import load_settings


def load(config: object = None, environment: dict[str, str] | None = None, **keywords: object) -> Settings:
    return load_settings(config, environment=environment or {}, **keywords)  # type: ignore[arg-type]


def test_the_paper_is_the_default() -> None:
    settings = load()
    assert settings.preset == "paper"
    assert (settings.mining.gamma, settings.mining.eta, settings.vsnl.delta) == (0.9, 0.5, 0.08)
    assert (settings.neglabel.count, settings.neglabel.groups) == (10_000, 100)
    assert (settings.clip.model, settings.clip.pretrained) == ("ViT-B-16-quickgelu", "openai")
    assert settings.mllm.backend == "huggingface"


def test_keywords_win_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "ants.toml"
    file.write_text("seed = 1\n[mining]\ngamma = 0.1\neta = 0.1\nmax_images = 5\n")
    settings = load(file, {"ANTS_MINING__GAMMA": "0.2", "ANTS_MINING__ETA": "0.2"}, mining={"gamma": 0.3})
    assert (settings.mining.gamma, settings.mining.eta, settings.mining.max_images, settings.seed) == (0.3, 0.2, 5, 1)


def test_a_folder_means_its_ants_toml(tmp_path: Path) -> None:
    (tmp_path / "ants.toml").write_text("seed = 4\n")
    assert load(tmp_path).seed == 4


def test_paths_in_a_file_are_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ants.toml"
    file.write_text(
        '[clip]\nmodel = "./clip"\n[mllm]\nmodel = "./mllm"\n'
        '[dispatch]\nstore = "answers"\n[lexicon]\nsource = "wordnet"\n'
    )
    settings = load(file)
    assert settings.clip.model == str(tmp_path / "clip")
    assert (settings.mllm.model_extra or {})["model"] == str(tmp_path / "mllm")
    assert settings.dispatch.store == tmp_path / "answers"
    assert settings.lexicon.source == "wordnet"


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"clip": {"modle": "x"}}, "unknown setting 'clip.modle' (from keyword); did you mean 'clip.model'?"),
        ({"minning": {}}, "did you mean 'mining'?"),
        ({"mining": {"gamma": 3}}, "'mining.gamma' (from keyword): Input should be less than or equal to 1, got 3"),
        ({"dispatch": {"mode": "offline"}}, "'dispatch.mode'"),
        ({"scoring": {"temperature": "hot"}}, "'scoring.temperature'"),
        ({"mining": 3}, "'mining'"),
        ({"scoring": {"threshold": True}}, "'scoring.threshold' (from keyword): Value error, Input should not be true"),
        ({"stream": {"lag": True}}, "'stream.lag'"),
        ({"dispatch": {"budget": {"requests": True}}}, "'dispatch.budget.requests'"),
    ],
)
def test_a_wrong_setting_is_named(keywords: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError) as error:
        load(**keywords)
    assert said in str(error.value)


def test_a_wrong_setting_names_its_file_and_variable(tmp_path: Path) -> None:
    file = tmp_path / "ants.toml"
    file.write_text("[ens]\nmax_word = 3\n")
    with pytest.raises(SettingError, match=r"'ens\.max_word' \(from .*ants\.toml\); did you mean 'ens\.max_words'"):
        load(file)
    with pytest.raises(SettingError, match=r"'clip\.batchsize' \(from environment\)"):
        load(environment={"ANTS_CLIP__BATCHSIZE": "3"})


def test_another_programs_variables_are_left_alone() -> None:
    assert load(environment={"ANTS_RANDOM_SEED": "3", "ANTSPATH": "x", "HOME": "y"}) == Settings()


@pytest.mark.parametrize(("text", "said"), [("a = [", "not valid TOML"), ("\xff", "not valid TOML"), (None, "no such")])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "x.toml"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingError, match=said) as error:
        load(file)
    assert str(file) in str(error.value)


def test_settings_are_frozen_and_pass_through() -> None:
    settings = load(seed=3, mllm={"backend": "openai", "base_url": "http://x"})
    again = load(settings, mllm={"model": "m"})
    assert (again.seed, again.mllm.model_extra) == (3, {"base_url": "http://x", "model": "m"})
    assert isinstance(again.mllm, MLLMSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 4


def test_a_preset_is_weaker_than_anything_that_is_given() -> None:
    settings = load_settings(preset="reference", mining={"eta": 0.3}, environment={"ANTS_ENS__MAX_UPDATES": "3"})
    assert (settings.mining.gamma, settings.mining.rule, settings.mining.eta) == (0.8, "histogram", 0.3)
    assert (settings.ens.max_updates, settings.ens.queue_overflow) == (3, "drop_newest")
    assert settings.scoring.in_score == "far_only"
    given = load_settings({"preset": "reference", "mining": {"gamma": 0.7}}, environment={})
    assert given.mining.gamma == 0.7


def test_finished_settings_keep_their_preset() -> None:
    finished = load_settings(preset="reference", environment={})
    assert load_settings(finished, preset="reference", environment={}) == finished
    with pytest.raises(SettingError, match="finished, with the preset 'reference'"):
        load_settings(finished, preset="paper", environment={})
    with pytest.raises(SettingError, match="preset"):
        load_settings(preset="refrence", environment={})
