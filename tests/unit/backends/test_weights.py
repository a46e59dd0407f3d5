import shutil

import pytest

from ants_engine.backends._weights import Weights, locate
from ants_engine.errors import ModelNotFoundError


@pytest.fixture
def folder(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    return model


def pin(folder, **options):
    return locate(str(folder), None, None, with_code=options.get("with_code", False))


def test_the_same_content_is_the_same_model_anywhere(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert pin(folder).facts() == pin(copy).facts()
    assert str(tmp_path) not in str(pin(folder).facts())


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "chat_template.jinja", "tokenizer.json", "processor_config.json",
     "generation_config.json", "merges.txt", "pytorch_model.bin", "additional_chat_templates/x.jinja"],
)  # fmt: skip
def test_what_shapes_answers_counts(folder, name):
    before = pin(folder).sha256
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"other")
    assert pin(folder).sha256 != before


@pytest.mark.parametrize("name", ["README.md", "trainer_state.json", "loss.png", ".gitattributes", "modeling.py"])
def test_what_does_not_shape_answers_does_not_count(folder, name):
    before = pin(folder).sha256
    (folder / name).write_bytes(b"other")
    assert pin(folder).sha256 == before


def test_code_counts_where_it_runs(folder):
    before = pin(folder, with_code=True).sha256
    (folder / "modeling.py").write_text("x = 1")
    assert pin(folder, with_code=True).sha256 != before


def test_renaming_a_file_counts(folder):
    before = pin(folder).sha256
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    assert pin(folder).sha256 != before


def test_a_folder_by_its_bare_name(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert locate("model", None, None, with_code=False) == Weights("model", None, pin(folder).sha256)


@pytest.mark.parametrize("name", ["./no-such", "../no-such", "/no/such", "~/no-such-model-here"])
def test_a_missing_folder_is_not_asked_of_the_hub(name):
    with pytest.raises(ModelNotFoundError, match="no model folder") as caught:
        locate(name, None, None, with_code=False)
    for way_out in ('mllm.model = "./folder"', 'mllm.backend = "openai"', "examples/emoji_world/ants.toml"):
        assert way_out in str(caught.value)


def test_a_folder_without_config(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        locate(str(tmp_path), None, None, with_code=False)


def test_no_hub_id():
    with pytest.raises(ModelNotFoundError, match="neither a folder nor"):
        locate("a b/c d", None, None, with_code=False)


def test_a_commit_needs_no_network():
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert locate("some/model", commit, None, with_code=False) == Weights("some/model", commit, None)


@pytest.fixture
def no_hub(monkeypatch):
    """A hub that refuses connections at once."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.usefixtures("no_hub")
def test_without_network_the_ways_out_are_told(tmp_path):
    with pytest.raises(ModelNotFoundError, match="cannot be reached") as caught:
        locate("Qwen/Qwen2-VL-2B-Instruct", None, tmp_path, with_code=False)
    assert "examples/emoji_world/ants.toml" in str(caught.value)


@pytest.mark.usefixtures("no_hub")
def test_without_network_the_cache_is_taken(tmp_path):
    commit = "f" * 40
    cached = tmp_path / "models--some--model"
    (cached / "snapshots" / commit).mkdir(parents=True)
    (cached / "snapshots" / commit / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    found = locate("some/model", None, tmp_path, with_code=False)
    assert found == Weights("some/model", commit, None, cached=True)
    assert found.facts() == {"model": "some/model", "revision": commit}
