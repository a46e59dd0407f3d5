"""Scoring and explaining over HTTP gives what the library gives."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ants_engine import ANTS
from tests.support.served import Served

SCORES = ("id_score", "outlier_score", "ens_score", "vsnl_score", "neglabel_score")


@pytest.fixture(scope="module")
def ants(detector: Path) -> ANTS:
    return ANTS.load(detector)


def files(*pictures: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("pictures", (f"{number}.jpg", picture)) for number, picture in enumerate(pictures)]


def ok(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_files_are_scored_as_the_library_scores_them(server: Served, ants: ANTS, jpegs: list[bytes]) -> None:
    wanted = asyncio.run(ants.score(jpegs[::8]))
    with server.client() as client:
        answer = ok(client.post("/v1/score", files=files(*jpegs[::8])))
    assert (answer["threshold"], answer["weight"]) == (ants.threshold, ants.weight)
    for row, (one, other) in enumerate(zip(answer["results"], wanted, strict=True)):
        assert (one["name"], one["error"]) == (f"{row}.jpg", None)
        assert one["score"]["predicted_class"] == other.predicted_class
        for name in SCORES:
            assert one["score"][name] == getattr(other, name)
    verdicts = [one["score"]["verdict"] for one in answer["results"]]
    assert verdicts == ["unknown" if one.is_outlier else "known" for one in wanted]
    assert set(verdicts) == {"known", "unknown"}


def test_base64_and_features_give_the_same_bits_as_files(server: Served, ants: ANTS, jpegs: list[bytes]) -> None:
    chosen = jpegs[::20]
    with server.client() as client:
        sent = ok(client.post("/v1/score", files=files(*chosen)))["results"]
        coded = [{"name": f"{row}.jpg", "base64": base64.b64encode(one).decode()} for row, one in enumerate(chosen)]
        assert ok(client.post("/v1/score", json={"pictures": coded}))["results"] == sent
        features = asyncio.run(ants.encode(chosen))
        found = ok(client.post("/v1/score", json={"features": features.tolist(), "names": ["a"]}))["results"]
    assert [one["name"] for one in found] == ["a", "#1", "#2", "#3"]
    for one, other in zip(found, sent, strict=True):
        assert one["score"] == other["score"]


def test_each_bad_item_has_its_own_error(server: Served, jpegs: list[bytes]) -> None:
    bomb = b"P6\n60000 60000\n255\n"
    with server.client() as client:
        answer = ok(client.post("/v1/score", files=files(jpegs[0], b"no picture", b"", bomb, jpegs[1])))
        alone = ok(client.post("/v1/score", files=files(jpegs[0], jpegs[1])))
    kinds = [one["error"] and one["error"]["type"] for one in answer["results"]]
    assert kinds == [None, "ImageUnreadableError", "ImageUnreadableError", "ImageTooLargeError", None]
    assert "pixels" in answer["results"][3]["error"]["message"]
    said = [one["verdict"] for one in answer["results"]]
    assert said[1:4] == ["unreadable"] * 3
    assert [said[0], said[4]] == [answer["results"][row]["score"]["verdict"] for row in (0, 4)]
    assert server.metric('ants_serve_pictures_total{outcome="unreadable"}') >= 3
    assert [answer["results"][row]["score"] for row in (0, 4)] == [one["score"] for one in alone["results"]]

    width = 192
    rows = [[0.1] * width, [0.1] * 3, [0.0] * width, [float("nan")] * width]
    with server.client() as client:
        # Python writes NaN, which JSON does not know
        nan = client.post(
            "/v1/score", content=json.dumps({"features": rows}), headers={"Content-Type": "application/json"}
        )
        found = ok(nan)["results"]
        mixed = {"pictures": [{"base64": "%%%"}, {"base64": base64.b64encode(jpegs[0]).decode()}]}
        coded = ok(client.post("/v1/score", json=mixed))["results"]
    assert [one["error"] is None for one in found] == [True, False, False, False]
    assert "(N, 192)" in found[1]["error"]["message"]
    assert "all zero" in found[2]["error"]["message"]
    assert coded[0]["error"]["message"].startswith("is not base64: ")
    assert coded[1]["score"] == alone["results"][0]["score"]


def test_an_explanation_names_texts_and_no_folder(server: Served, ants: ANTS, jpegs: list[bytes]) -> None:
    with server.client() as client:
        answer = ok(client.post("/v1/explain?top=2", files=files(jpegs[40], b"bad")))
        scored = ok(client.post("/v1/score", files=files(jpegs[40])))
    one, bad = answer["results"]
    assert one["score"] == scored["results"][0]["score"]
    assert bad["error"]["type"] == "ImageUnreadableError"
    assert bad["classes"] == bad["negatives"] == []
    why = ants.explain(jpegs[40], top=2)
    assert [near["text"] for near in one["classes"]] == [near.text for near in why.classes]
    assert [near["text"] for near in one["negatives"]] == [near.text for near in why.negatives]
    said = [near["origin"] for near in one["negatives"] if near["kind"] == "ens"]
    assert said
    # the picture that a sentence was said of is a path on the server
    assert all(origin.startswith("what the MLLM said of 0") and "/" not in origin for origin in said)


def test_the_detector_is_described(server: Served, ants: ANTS) -> None:
    with server.client() as client:
        found = ok(client.get("/v1/detector"))
        assert ok(client.get("/healthz")) == ok(client.get("/readyz")) == {"status": "ok"}
    assert found["classes"] == list(ants.classes)
    assert (found["feature_size"], found["same_bits"]) == (192, True)
    assert np.isclose(found["threshold"], ants.threshold)
    assert str(Path.home()) not in str(found)


def test_metrics_count_what_came_of_items(server: Served, jpegs: list[bytes]) -> None:
    before = server.metric("ants_serve_pictures_total")
    with server.client() as client:
        ok(client.post("/v1/score", files=files(jpegs[0], b"bad", jpegs[1])))
        page = client.get("/metrics").text
    assert server.metric("ants_serve_pictures_total") == before + 3
    assert 'ants_serve_requests_total{route="/v1/score",status="200"}' in page
    assert "process_resident_memory_bytes" in page
    assert server.metric("ants_serve_waiting_pictures") == server.metric("ants_serve_held_bytes") == 0
