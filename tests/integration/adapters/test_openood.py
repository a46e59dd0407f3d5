import asyncio
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_ood.metrics import OODMetrics
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from ants_engine import ANTS
from ants_engine.adapters.clip_inputs import pictures_of
from ants_engine.adapters.openood import ANTSPostprocessor, ZeroShotNet
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.errors import NoImagesError, SettingError, UsageError
from ants_engine.method.metrics import measure
from tests.integration.adapters.conftest import IDS
from tests.integration.conftest import CLASSES

Result = tuple[np.ndarray, np.ndarray, np.ndarray]


class Listed(Dataset[dict[str, Any]]):
    """Pictures as OpenOOD's data sets give them: a dict each, with a path in some forks."""

    def __init__(self, inputs: torch.Tensor, labels: Iterable[int], paths: list[str] | None = None) -> None:
        self._inputs, self._labels, self._paths = inputs, list(labels), paths

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {"image_name": f"{index}.jpg", "data": self._inputs[index], "label": self._labels[index]}
        return item if self._paths is None else {**item, "path": self._paths[index]}


def loader(data: Dataset[Any], shuffled: int | None = None) -> DataLoader[Any]:
    generator = None if shuffled is None else torch.Generator().manual_seed(shuffled)
    return DataLoader(data, batch_size=8, shuffle=shuffled is not None, generator=generator)


@pytest.fixture
def ids(inputs: torch.Tensor, labels: torch.Tensor) -> Listed:
    return Listed(inputs[:IDS], labels[:IDS].tolist())


@pytest.fixture
def oods(inputs: torch.Tensor) -> dict[str, Listed]:
    # labels of OOD lists may be anything: the evaluator sets them to -1
    return {"ninco": Listed(inputs[IDS:28], [7] * 12), "textures": Listed(inputs[28:], [0] * 12)}


@pytest.fixture
async def ants(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> ANTS:
    return await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)


@pytest.fixture
async def cold(encoder: ClipEncoder, settings: dict[str, Any], mllm: ScriptedBackend) -> ANTS:
    return await ANTS.build(CLASSES, encoder=encoder, backend=mllm, **settings)


def evaluate(
    postprocessor: ANTSPostprocessor, net: torch.nn.Module, ids: Listed, oods: dict[str, Listed]
) -> dict[str, Result]:
    """Make the calls of OpenOOD v1.5's evaluator, in its order: setup, the ID test set once, each OOD set by itself."""
    loaders = {"near": {"ninco": loader(oods["ninco"])}, "far": {"textures": loader(oods["textures"])}}
    id_loaders = {"train": None, "val": loader(ids), "test": loader(ids)}
    postprocessor.setup(net, id_loaders, {"val": loader(oods["ninco"]), **loaders})
    assert not postprocessor.APS_mode
    net.eval()
    known = postprocessor.inference(net, id_loaders["test"], True)
    results = {}
    for split in ("near", "far"):
        for name, one in loaders[split].items():
            pred, conf, label = postprocessor.inference(net, one, True)
            rows = zip(known, (pred, conf, -1 * np.ones_like(label)), strict=True)
            results[name] = tuple(np.concatenate(pair) for pair in rows)
    return results


async def test_the_evaluators_calls_give_its_shapes_and_our_scores(
    ants: ANTS, ids: Listed, oods: dict[str, Listed], images: list[Image.Image]
) -> None:
    found = evaluate(ANTSPostprocessor(ants=ants), ZeroShotNet(ants), ids, oods)
    scores = await ants.score(images)
    for name, rows in (("ninco", slice(IDS, 28)), ("textures", slice(28, 40))):
        pred, conf, label = found[name]
        assert (pred.dtype.kind, conf.dtype.kind, label.dtype.kind) == ("i", "f", "i")
        wanted = np.concatenate([scores.id_score[:IDS], scores.id_score[rows]])
        # how many rows are multiplied at once may move the last bit
        np.testing.assert_allclose(conf, wanted, atol=1e-6)
        np.testing.assert_array_equal(pred, np.concatenate([scores.predicted[:IDS], scores.predicted[rows]]))
        assert label.tolist() == [row % 4 for row in range(IDS)] + [-1] * 12


def test_metrics_of_its_scores_are_the_same_here_and_in_pytorch_ood(
    ants: ANTS, ids: Listed, oods: dict[str, Listed]
) -> None:
    for pred, conf, label in evaluate(ANTSPostprocessor(ants=ants), ZeroShotNet(ants), ids, oods).values():
        is_id = label != -1
        ours = measure(conf[is_id], conf[~is_id], id_predicted=pred[is_id], id_labels=label[is_id])
        tensors = (torch.from_numpy(each) for each in (-conf, label, pred))
        theirs = OODMetrics().update(*tensors).compute()
        wanted = [theirs[key] for key in ("FPR95TPR", "AUROC", "AUPR-IN", "AUPR-OUT", "ACC")]
        assert [ours.fpr95, ours.auroc, ours.aupr_in, ours.aupr_out, ours.accuracy] == pytest.approx(wanted, abs=1e-9)


def test_openoods_own_metrics_agree(ants: ANTS, ids: Listed, oods: dict[str, Listed]) -> None:
    metrics = pytest.importorskip("openood.evaluators.metrics", reason="OpenOOD is not on the registry")
    for pred, conf, label in evaluate(ANTSPostprocessor(ants=ants), ZeroShotNet(ants), ids, oods).values():
        is_id = label != -1
        ours = measure(conf[is_id], conf[~is_id], id_predicted=pred[is_id], id_labels=label[is_id])
        theirs = metrics.compute_all_metrics(conf, label, pred)
        assert [ours.fpr95, ours.auroc, ours.aupr_in, ours.aupr_out, ours.accuracy] == pytest.approx(theirs, abs=1e-9)


async def test_the_published_protocol_is_one_stream_per_ood_set_with_a_fresh_memory(
    cold: ANTS, encoder: ClipEncoder, inputs: torch.Tensor, ids: Listed, oods: dict[str, Listed]
) -> None:
    postprocessor = ANTSPostprocessor(ants=cold, mode="stream")
    found = []
    for data in (oods["ninco"], oods["textures"], oods["ninco"]):
        # as the public code's evaluator does it
        postprocessor.reset_memory()
        postprocessor.setup(None, loader(ids), loader(data))
        found.append(postprocessor.inference(None, loader(ConcatDataset([data, ids]), shuffled=3)))
    postprocessor.close()
    for first, last in zip(found[0], found[2], strict=True):
        np.testing.assert_array_equal(first, last)
    assert len(cold.detector.ens) > 0
    whole = torch.cat([batch["data"] for batch in loader(ConcatDataset([oods["ninco"], ids]), shuffled=3)])
    cold.reset()
    features = torch.cat([encoder.encode_inputs(batch.unbind()) for batch in whole.split(8)])
    stream = cold.stream(pictures_of(whole, encoder), features=features, batch_size=8)
    np.testing.assert_array_equal(found[0][1], np.concatenate([scores.id_score async for scores in stream]))


def test_where_batches_have_paths_the_mllm_is_shown_the_files(
    cold: ANTS, inputs: torch.Tensor, images: list[Image.Image], mllm: ScriptedBackend, tmp_path: Path
) -> None:
    paths = [str(tmp_path / f"{row}.png") for row in range(40)]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    postprocessor = ANTSPostprocessor(ants=cold, mode="stream")
    _, conf, _ = postprocessor.inference(None, loader(Listed(inputs, range(40), paths)))
    shown = {(call.picture.width, call.picture.height) for call in mllm.calls if call.picture}
    assert shown == {(72, 64)}
    assert np.isfinite(conf).all()


def test_postprocess_goes_on_where_the_last_batch_left_off(cold: ANTS, inputs: torch.Tensor) -> None:
    postprocessor = ANTSPostprocessor(ants=cold, mode="stream")
    pred, conf = postprocessor.postprocess(None, inputs[:8])
    assert (pred.dtype, conf.dtype, tuple(pred.shape), tuple(conf.shape)) == (torch.int64, torch.float32, (8,), (8,))
    second = postprocessor.postprocess(None, inputs[8:16])[1]
    assert cold.state.pictures == 16
    postprocessor.setup(None, {}, {})
    assert cold.state.pictures == 0
    assert not torch.equal(postprocessor.postprocess(None, inputs[8:16])[1], second)
    postprocessor.reset_memory()
    assert torch.equal(postprocessor.postprocess(None, inputs[:8])[1], conf)


async def test_validation_pictures_can_teach_a_frozen_detector(
    cold: ANTS,
    encoder: ClipEncoder,
    mllm: ScriptedBackend,
    inputs: torch.Tensor,
    ids: Listed,
    oods: dict[str, Listed],
    settings: dict[str, Any],
) -> None:
    postprocessor = ANTSPostprocessor(ants=cold, mode="validation")
    with pytest.raises(UsageError, match="call it first"):
        postprocessor.postprocess(None, inputs)
    with pytest.raises(UsageError, match="'val' among the OOD loaders"):
        postprocessor.setup(None, {"val": loader(ids)}, {"near": {}})
    found = evaluate(postprocessor, ZeroShotNet(postprocessor.ants), ids, oods)
    assert len(postprocessor.ants.detector.ens) > 0
    # the detector that was given has learned nothing
    assert len(cold.detector.ens) == 0
    mixed = [row for batch in (range(8), range(16, 24), range(8, 16), range(24, 28)) for row in batch]
    own = await ANTS.build(CLASSES, pictures_of(inputs[mixed], encoder), encoder=encoder, backend=mllm, **settings)
    assert postprocessor.ants.detector.ens.texts == own.detector.ens.texts
    wanted = own.score_features(encoder.encode_inputs(inputs[:28].unbind())).id_score
    np.testing.assert_allclose(found["ninco"][1], wanted, atol=1e-6)


def test_a_configuration_file_names_a_saved_detector_or_classes(
    ants: ANTS, inputs: torch.Tensor, settings: dict[str, Any], tmp_path: Path
) -> None:
    ants.save(tmp_path / "saved")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES), "utf-8")
    saved = _configured(detector=str(tmp_path / "saved"))
    np.testing.assert_array_equal(
        ANTSPostprocessor(saved).postprocess(None, inputs)[1].numpy(),
        ANTSPostprocessor(ants=ants).postprocess(None, inputs)[1].numpy(),
    )
    named = ANTSPostprocessor(_configured(id_classes=str(tmp_path / "classes.txt"), settings=settings))
    named.setup(None, {}, {})
    assert named.ants.classes == tuple(CLASSES)
    named.close()
    with pytest.raises(SettingError, match="detector or id_classes"):
        ANTSPostprocessor(_configured())
    with pytest.raises(SettingError, match="needs a detector that has learned"):
        ANTSPostprocessor(_configured(id_classes=CLASSES, mode="frozen"))


def _configured(**arguments: Any) -> dict[str, Any]:
    return {"postprocessor": {"name": "ants", "APS_mode": False, "postprocessor_args": arguments}}


def test_the_net_classifies_as_the_detector_does(ants: ANTS, inputs: torch.Tensor) -> None:
    net = ZeroShotNet(ants).eval()
    logits = net(inputs.requires_grad_(False))
    assert logits.shape == (40, len(CLASSES))
    pred, _ = ANTSPostprocessor(ants=ants).postprocess(net, inputs)
    assert torch.equal(logits.argmax(1), pred)
    assert not list(net.parameters())


async def test_a_loader_without_batches_is_an_error_and_a_running_loop_is_none(ants: ANTS, ids: Listed) -> None:
    assert asyncio.get_running_loop().is_running()
    postprocessor = ANTSPostprocessor(ants=ants, mode="stream")
    with pytest.raises(NoImagesError, match="no batch"):
        postprocessor.inference(None, [])
    assert len(postprocessor.inference(None, loader(ids), progress=False)[0]) == IDS


def test_where_openood_can_be_imported_it_is_a_postprocessor_of_its_own_kind(tmp_path: Path) -> None:
    folder = tmp_path / "openood" / "postprocessors"
    folder.mkdir(parents=True)
    (tmp_path / "openood" / "__init__.py").touch()
    (folder / "__init__.py").write_text("class BasePostprocessor:\n    pass\n", "utf-8")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from openood.postprocessors import BasePostprocessor\n"
        "from ants_engine.adapters.openood import ANTSPostprocessor\n"
        "assert issubclass(ANTSPostprocessor, BasePostprocessor)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert ANTSPostprocessor.__mro__[1] is object or ANTSPostprocessor.__mro__[1].__module__.startswith("openood")
