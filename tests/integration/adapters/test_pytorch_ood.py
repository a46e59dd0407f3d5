import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_ood.api import Detector, FeaturesDetector, RequiresFittingException
from pytorch_ood.benchmark import Benchmark
from pytorch_ood.metrics import OODMetrics
from torch.utils.data import DataLoader, TensorDataset

from ants_engine import ANTS
from ants_engine.adapters.clip_inputs import pictures_of
from ants_engine.adapters.pytorch_ood import ANTSDetector
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.errors import ClassListError, FeatureError, UsageError
from ants_engine.method.metrics import measure
from tests.integration.conftest import CLASSES, OBJECTS, WORLD
from tests.support.process import WAIT
from tests.unit.detector.detectors import unit_rows


@pytest.fixture
async def ants(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> ANTS:
    return await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)


async def streamed(ants: ANTS, inputs: torch.Tensor, size: int) -> np.ndarray:
    """Outlier scores as one stream of the engine's own gives them for what CLIP sees."""
    features = torch.cat([ants.encoder.encode_inputs(batch.unbind()) for batch in inputs.split(size)])
    stream = ants.stream(pictures_of(inputs, ants.encoder), features=features, batch_size=size)
    return np.concatenate([scores.outlier_score async for scores in stream])


async def test_a_finished_detector_scores_frozen_and_higher_is_ood(
    ants: ANTS, images: list[Image.Image], inputs: torch.Tensor
) -> None:
    detector = ANTSDetector(ants)
    assert isinstance(detector, FeaturesDetector)
    assert not detector.requires_fit
    scores = await ants.score(images)
    predicted = detector(inputs)
    assert predicted.dtype == torch.float32
    np.testing.assert_array_equal(predicted.numpy(), scores.outlier_score)
    np.testing.assert_allclose(detector(inputs[:8]).numpy(), scores.outlier_score[:8], atol=1e-6)
    assert predicted.argmax() == scores.id_score.argmin()
    features = torch.from_numpy(await ants.encode(images))
    assert torch.equal(detector.predict_features(features), predicted)
    assert detector.predict_features(features[:0]).shape == (0,)
    assert detector.fit(DataLoader(TensorDataset(inputs, torch.zeros(40)), 8)) is detector
    assert detector.fit_features(features, torch.zeros(40)).ants is ants
    assert detector.to("cpu").reset().ants is ants
    assert torch.equal(detector(inputs), predicted)


@pytest.mark.parametrize("lag", [0, 2])
async def test_streaming_gives_the_bits_of_a_stream_inside_a_running_loop(
    lag: int, encoder: ClipEncoder, inputs: torch.Tensor, settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    settings["stream"] = {"lag": lag}
    detector = ANTSDetector(id_classes=CLASSES, streaming=True, encoder=encoder, backend=mllm, **settings)
    assert not detector.requires_fit
    own = await ANTS.build(CLASSES, encoder=encoder, backend=mllm, **settings)
    wanted = await streamed(own, inputs, 8)
    batches = [detector(batch) for batch in inputs.split(8)]
    assert torch.cat(batches).numpy().tobytes() == wanted.tobytes()
    assert len(detector.ants.detector.ens) == len(own.detector.ens) > 0
    # the MLLM was shown what CLIP sees
    assert {(call.picture.width, call.picture.height) for call in mllm.calls if call.picture} == {(64, 64)}
    # a later picture is scored with what the earlier ones have taught, until that is forgotten
    assert not torch.equal(detector(inputs[:8]), batches[0])
    assert torch.equal(detector.reset()(inputs[:8]), batches[0])
    detector.close()
    with pytest.raises(UsageError, match="closed"):
        detector(inputs)


def test_streaming_on_features_asks_in_words_only(
    encoder: ClipEncoder, inputs: torch.Tensor, settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    detector = ANTSDetector(
        id_classes=CLASSES, streaming=True, encoder=encoder, backend=mllm, stream={"batch_size": 16}, **settings
    )
    features = encoder.encode_inputs(inputs.unbind())
    whole = detector.predict_features(features)
    assert whole.shape == (40,)
    assert mllm.calls
    assert all(call.picture is None for call in mllm.calls)
    assert detector.ants.state.batch == 3
    parts = [detector.reset().predict_features(features[:16]), *map(detector.predict_features, features[16:].split(16))]
    assert torch.equal(torch.cat(parts), whole)


async def test_fit_learns_from_unlabelled_pictures_and_labels_say_nothing(
    encoder: ClipEncoder, inputs: torch.Tensor, labels: torch.Tensor, settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    detector = ANTSDetector(id_classes=iter(CLASSES), encoder=encoder, backend=mllm, **settings)
    assert detector.requires_fit
    assert detector.encoder is None
    with pytest.raises(RequiresFittingException):
        detector(inputs)
    with pytest.raises(RequiresFittingException):
        detector.predict_features(unit_rows(2, 0, encoder.dim))
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=6)
    assert detector.fit(loader) is detector
    own = await ANTS.build(CLASSES, list(pictures_of(inputs, encoder)), encoder=encoder, backend=mllm, **settings)
    wanted = own.score_features(encoder.encode_inputs(inputs.unbind())).outlier_score
    first = detector(inputs)
    np.testing.assert_array_equal(first.numpy(), wanted)
    again = DataLoader(TensorDataset(inputs, -1 - labels), batch_size=6)
    assert torch.equal(detector.fit(again)(inputs), first)
    asked = sum(call.picture is not None for call in mllm.calls)
    assert len(detector.fit_features(encoder.encode_inputs(inputs.unbind()), labels).ants.detector.ens) == 0
    assert sum(call.picture is not None for call in mllm.calls) == asked


async def test_pytorch_oods_metrics_and_ours_agree(ants: ANTS, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    detector, metrics = ANTSDetector(ants), OODMetrics()
    for x, y in DataLoader(TensorDataset(inputs, labels), batch_size=7):
        metrics.update(detector(x), y)
    theirs = metrics.compute()
    scores = 1 - detector(inputs).double().numpy()
    is_id = labels.numpy() >= 0
    ours = measure(scores[is_id], scores[~is_id], convention="openood")
    assert theirs["AUROC"] == pytest.approx(ours.auroc, abs=1e-9)
    assert theirs["AUPR-IN"] == pytest.approx(ours.aupr_in, abs=1e-9)
    assert theirs["AUPR-OUT"] == pytest.approx(ours.aupr_out, abs=1e-9)
    assert theirs["FPR95TPR"] == pytest.approx(ours.fpr95, abs=1e-9)
    assert 0 < ours.auroc < 1


class TwoSets(Benchmark):
    """A benchmark as pytorch-ood has them, of pictures in memory."""

    def __init__(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        self.ood_names = ["one", "other"]
        ids, oods = torch.nonzero(labels >= 0).flatten(), torch.nonzero(labels < 0).flatten()
        chosen = [torch.cat([ids, part]) for part in oods.split(len(oods) // 2)]
        self._sets = [TensorDataset(inputs[rows], labels[rows]) for rows in chosen]

    def train_set(self) -> TensorDataset:
        raise NotImplementedError

    def test_sets(self, known: bool = True, unknown: bool = True) -> list[TensorDataset]:
        return self._sets


async def test_a_benchmark_caches_features_of_a_frozen_detector_and_shows_pictures_to_a_streaming_one(
    ants: ANTS,
    encoder: ClipEncoder,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    settings: dict[str, Any],
    mllm: ScriptedBackend,
) -> None:
    frozen = ANTSDetector(ants)
    assert frozen.encoder is frozen.encoder
    streaming = ANTSDetector(id_classes=CLASSES, streaming=True, encoder=encoder, backend=mllm, **settings)
    detectors: list[Detector] = [frozen, streaming]
    benchmark = TwoSets(inputs, labels)
    rows = benchmark.evaluate(detectors, loader_kwargs={"batch_size": 8}, cache=True)
    assert [row["Dataset"] for row in rows] == ["one", "one", "other", "other"]
    # one cache entry per set: the frozen detector's features
    assert len(benchmark._representation_cache) == 2
    assert len(streaming.ants.detector.ens) > 0
    whole = frozen(benchmark.test_sets()[0].tensors[0])
    metrics = OODMetrics().update(whole, benchmark.test_sets()[0].tensors[1]).compute()
    assert rows[0]["AUROC"] == pytest.approx(metrics["AUROC"], abs=1e-9)


def test_an_mllm_from_the_settings_is_made_once_for_all_calls(
    encoder: ClipEncoder, inputs: torch.Tensor, settings: dict[str, Any]
) -> None:
    # this table gives its replies one per call, so a second one would begin anew
    answers = {"re:.": [f"A {one} beside a {other}." for one in OBJECTS for other in OBJECTS]}
    settings = settings | {"mllm": {"backend": "scripted", "answers": answers, "text_only": False}}
    detector = ANTSDetector(id_classes=CLASSES, streaming=True, encoder=encoder, **settings)
    for batch in inputs.split(8):
        detector(batch)
    texts = detector.ants.detector.ens.texts
    described = detector.ants.state.captions
    assert len({caption.text for caption in described.values()}) == len(described) > 8
    assert len(set(texts)) == len(texts) > 0
    detector.close()


async def test_features_alone_are_enough(settings: dict[str, Any]) -> None:
    made = ANTS.from_features(["cat", "dog"], unit_rows(2, 1), negative_features=unit_rows(9, 2), config=settings)
    detector = ANTSDetector(made)
    assert detector.encoder is None
    features = unit_rows(5, 3)
    np.testing.assert_array_equal(
        detector.predict_features(features).numpy(), made.score_features(features).outlier_score
    )
    with pytest.raises(UsageError, match="no CLIP model"):
        detector(torch.zeros(2, 3, 64, 64))


async def test_mistakes_are_named(ants: ANTS, inputs: torch.Tensor) -> None:
    with pytest.raises(ClassListError, match="either ants="):
        ANTSDetector()
    with pytest.raises(ClassListError, match="either ants="):
        ANTSDetector(ants, id_classes=CLASSES)
    detector = ANTSDetector(ants)
    with pytest.raises(FeatureError, match=r"\(B, 3, 64, 64\)"):
        detector(inputs[:, :, :32])
    with pytest.raises(FeatureError, match="192"):
        detector.predict_features(torch.ones(2, 3))
    unfit = ANTSDetector(id_classes=CLASSES, config=ants.settings, encoder=ants.encoder)
    with pytest.raises(FeatureError, match="normalised"):
        unfit.fit([(50 * inputs[:8], None)])
    with pytest.raises(RequiresFittingException):
        unfit(inputs)


def test_a_program_may_end_without_closing(settings: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "settings.json"
    mllm = {"backend": "huggingface", "model": str(WORLD / "mllm")}
    config.write_text(json.dumps(settings | {"mllm": mllm}), "utf-8")
    code = (
        "import json, pathlib, sys, torch\n"
        "from ants_engine.adapters.pytorch_ood import ANTSDetector\n"
        "settings = json.loads(pathlib.Path(sys.argv[1]).read_text())\n"
        "detector = ANTSDetector(id_classes=['panda', 'bus'], streaming=True, config=settings)\n"
        "print(len(detector(torch.zeros(2, 3, 64, 64))))\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT)
    assert (done.stdout.strip(), done.stderr) == ("2", "")


def test_without_pytorch_ood_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pytorch_ood.py").write_text("raise ModuleNotFoundError(\"No module named 'pytorch_ood'\")\n", "utf-8")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import ants_engine, ants_engine.ants, ants_engine.adapters, ants_engine.adapters.openood\n"
        "assert 'pytorch_ood' not in sys.modules\n"
        "import ants_engine.adapters.pytorch_ood\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ants_engine.errors.MissingDependencyError")
    assert last.endswith('pip install "ants-engine[pytorch-ood]"')
