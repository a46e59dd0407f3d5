"""Model folders from strangers: pickled weights run nothing, and code that comes along runs only where that is set."""

import json
import pickle
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ants_engine import errors
from tests.support.pictures import call, picture


@pytest.fixture
def pickled(llava, tmp_path):
    """The tiny model as it was once published: a pickle."""
    folder = shutil.copytree(llava, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


class Touch:
    """Unpickled, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


async def test_weights_in_a_pickle_are_read_as_numbers(pickled, llava, local):
    asked = call(shown=picture())
    assert await local(pickled).generate(asked) == await local(llava).generate(asked)


async def test_weights_in_pickles_of_several_files(pickled, llava, local):
    state = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    (pickled / "pytorch_model.bin").unlink()
    files = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(state)}
    for file in set(files.values()):
        torch.save({name: value for name, value in state.items() if files[name] == file}, pickled / file)
    index = {"metadata": {"total_size": 1}, "weight_map": files}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    asked = call(shown=picture())
    assert await local(pickled).generate(asked) == await local(llava).generate(asked)


@pytest.mark.parametrize("how", ["torch's archive", "torch's old format", "a bare pickle", "beside good weights"])
async def test_a_doctored_pickle_runs_nothing(how, pickled, llava, local, tmp_path):
    mark, weights = tmp_path / "ran", pickled / "pytorch_model.bin"
    state = torch.load(weights, weights_only=True) | {"lm_head.weight": Touch(mark)}
    if how == "a bare pickle":
        weights.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, weights, _use_new_zipfile_serialization=how != "torch's old format")
        assert zipfile.is_zipfile(weights) == (how != "torch's old format")
    if how == "beside good weights":
        shutil.copy(llava / "model.safetensors", pickled)
        await local(pickled).generate(call(shown=picture()))
    else:
        with pytest.raises(errors.ModelNotFoundError, match="could run code") as caught:
            await local(pickled).load()
        assert "weights_only=False" not in str(caught.value), "torch's advice to switch the check off is not passed on"
    assert not mark.exists()
    # It is a trap: loaded without care, it does run.
    with suppress(RuntimeError):
        torch.load(weights, weights_only=False)
    assert mark.exists()


CODE = """
from pathlib import Path
from transformers import LlavaConfig, LlavaForConditionalGeneration
Path({mark!r}).touch()

class OwnConfig(LlavaConfig):
    model_type = "own_llava"

class OwnModel(LlavaForConditionalGeneration):
    config_class = OwnConfig
"""


@pytest.fixture
def own_code(llava, tmp_path, monkeypatch):
    """A folder whose model is a class of its own."""
    from transformers import LlavaForConditionalGeneration

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(llava, tmp_path / "own-code")
    (folder / "own_model.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    # transformers renames weights by the kind of model, and does not know this one
    state = LlavaForConditionalGeneration.from_pretrained(llava).state_dict()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "own_llava"
    config["architectures"] = ["OwnModel"]
    config["auto_map"] = {"AutoConfig": "own_model.OwnConfig", "AutoModelForImageTextToText": "own_model.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


async def test_code_in_a_folder_is_not_run(own_code, local, tmp_path):
    backend = local(own_code)
    await backend.identity()
    with pytest.raises(errors.ModelNotFoundError, match=r"mllm\.trust_remote_code = true"):
        await backend.load()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", ["tokenizer", "processor"])
async def test_code_of_a_tokenizer_or_processor_is_not_run(part, llava, local, tmp_path):
    folder = shutil.copytree(llava, tmp_path / "own-parts")
    (folder / "own.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nclass Own: pass\n"
    )
    file = folder / f"{part}_config.json"
    described = json.loads(file.read_text())
    described["auto_map"] = {"AutoTokenizer": ["own.Own", None], "AutoProcessor": "own.Own"}
    described[f"{part}_class"] = "Own"
    file.write_text(json.dumps(described))
    outcome = None
    try:
        outcome = await local(folder).generate(call(shown=picture()))
    except errors.ModelNotFoundError as error:
        outcome = error
    assert outcome is not None
    assert not (tmp_path / "ran").exists()


async def test_code_in_a_folder_is_run_where_the_user_wrote_so(own_code, llava, local, tmp_path):
    backend = local(own_code, trust_remote_code=True)
    asked = call(shown=picture())
    assert (await backend.generate(asked)).text == (await local(llava).generate(asked)).text
    assert (tmp_path / "ran").exists()
    before = await backend.identity()
    (own_code / "own_model.py").write_text((own_code / "own_model.py").read_text() + "\n# other code\n")
    assert await local(own_code, trust_remote_code=True).identity() != before
