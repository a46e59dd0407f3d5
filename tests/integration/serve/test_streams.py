"""Named streams adapt, each on its own, and the frozen detector does not."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ants_engine import ANTS
from tests.support.served import Served, beside


def post(server: Served, name: str, *pictures: bytes) -> dict[str, Any]:
    with server.client() as client:
        sent = [("pictures", (f"{number}.jpg", picture)) for number, picture in enumerate(pictures)]
        response = client.post(f"/v1/streams/{name}/score", files=sent)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_stream_is_the_librarys_stream_batch_by_batch(detector: Path, server: Served, jpegs: list[bytes]) -> None:
    batches = [jpegs[36:40], [jpegs[0], b"no picture", jpegs[41]], jpegs[42:46]]
    with server.client() as client:
        frozen = client.post("/v1/score", files=[("pictures", ("x", jpegs[0]))]).json()["results"]
    found = [post(server, "equal", *batch) for batch in batches]

    async def library() -> list[Any]:
        ants, scored = ANTS.load(detector, **beside(detector)), []
        for batch in batches:
            async with ants.stream(batch, batch_size=len(batch)) as stream:
                scored += [scores async for scores in stream]
        return scored

    for ours, theirs in zip(found, asyncio.run(library()), strict=True):
        assert ours["adaptation"]["batch"] == theirs.adaptation.batch
        assert ours["adaptation"]["pictures"] == theirs.adaptation.pictures
        assert ours["adaptation"]["ens_texts"] == theirs.adaptation.ens_texts
        assert abs(ours["threshold"] - theirs.threshold) < 1e-4
        for one, other in zip(ours["results"], theirs, strict=True):
            if one["error"] is None:
                assert abs(one["score"]["id_score"] - other.id_score) < 1e-4
    assert found[1]["results"][1]["error"]["type"] == "ImageUnreadableError"
    # it has learned something, and the frozen detector has not
    assert found[2]["threshold"] != found[0]["threshold"]
    with server.client() as client:
        assert client.post("/v1/score", files=[("pictures", ("x", jpegs[0]))]).json()["results"] == frozen
        client.delete("/v1/streams/equal")


def test_batches_of_one_stream_have_their_turn_each(server: Served, jpegs: list[bytes]) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: post(server, "busy", jpegs[number], jpegs[number + 8]), range(8)))
    assert sorted(one["adaptation"]["batch"] for one in found) == list(range(1, 9))
    with server.client() as client:
        described = client.get("/v1/streams/busy").json()
        assert (described["batches"], described["saved"]) == (8, False)
        assert client.delete("/v1/streams/busy").status_code == 204
        assert client.get("/v1/streams/busy").status_code == 404


def test_streams_are_bounded_in_number_and_name(server: Served, jpegs: list[bytes]) -> None:
    with server.client() as client:
        for one in client.get("/v1/streams").json()["streams"]:
            client.delete(f"/v1/streams/{one['name']}")
        # a request that cannot be scored opens nothing
        assert client.post("/v1/streams/none/score", content=b"x").status_code == 415
        for name in ("a", "b", "c"):
            post(server, name, jpegs[0])
        response = client.post("/v1/streams/d/score", files=[("pictures", ("x", jpegs[0]))])
        assert (response.status_code, response.json()["error"]["type"]) == (409, "too_many_streams")
        found = client.get("/v1/streams").json()
        assert ([one["name"] for one in found["streams"]], found["most"]) == (["a", "b", "c"], 3)
        # this server has no folder for them
        assert client.post("/v1/streams/a/save").json()["error"]["type"] == "no_folder"
        for name in ("Upper", "-x", "a" * 65, "%2e%2e", "a.b"):
            response = client.post(f"/v1/streams/{name}/score", files=[("pictures", ("x", jpegs[0]))])
            assert response.status_code == 422, name
        for name in ("a", "b", "c"):
            client.delete(f"/v1/streams/{name}")


def test_a_server_without_streams_has_none(strict: Served) -> None:
    with strict.client(headers={"Authorization": "Bearer correct-horse-battery"}) as client:
        assert client.get("/v1/streams").status_code == 404
        assert "/v1/streams" not in client.get("/openapi.json").json()["paths"]
