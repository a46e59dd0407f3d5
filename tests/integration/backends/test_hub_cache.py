"""A model of the hub that lies in the local cache: no network is needed, and its family is known once it is pinned."""

import shutil

from ants_engine.backends.huggingface import HuggingFaceBackend, HuggingFaceOptions
from tests.support.pictures import call, picture

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(folder, cache, repo):
    """Lay a folder out as the hub's cache does."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, root / "snapshots" / COMMIT)


async def test_a_cached_model_is_pinned_and_answers_as_its_folder_does(family_folder, local, tmp_path):
    folder = family_folder("blip-2")
    cached(folder, tmp_path, "someone/blip2")
    backend = HuggingFaceBackend(HuggingFaceOptions(model="someone/blip2", cache_dir=tmp_path, device="cpu"))
    identity = await backend.identity()
    assert (identity["model"], identity["revision"]) == ("someone/blip2", COMMIT)
    assert not backend.capabilities.text_only, "known without loading it"
    asked = call("describe", picture())
    assert await backend.generate(asked) == await local(folder).generate(asked)
    await backend.aclose()


async def test_a_pinned_commit_that_is_not_cached_leaves_the_family_open(tmp_path):
    options = HuggingFaceOptions(model="someone/blip2", revision=COMMIT, cache_dir=tmp_path, device="cpu")
    backend = HuggingFaceBackend(options)
    assert (await backend.identity())["revision"] == COMMIT
    assert backend.capabilities.text_only
    await backend.aclose()
