"""ANTS inside a FastAPI application of your own. For a ready-made service there is `ants serve`.

pip install fastapi uvicorn python-multipart
python examples/quickstart.py                      # makes detector/
python examples/fastapi_app.py --port 8000         # http://127.0.0.1:8000/docs
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request, UploadFile

from ants_engine import ANTS
from ants_engine.errors import ImageError

LARGEST = 10_000_000


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the detector once, with the bound on one picture; CLIP comes with the first request."""
    app.state.ants = ANTS.load("detector/", pictures={"max_bytes": LARGEST, "on_error": "raise"})
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/look")
async def look(request: Request, picture: UploadFile) -> dict[str, object]:
    """Say whether a picture is known, and what it is. CLIP runs in a thread: the event loop stays free."""
    content = await picture.read(LARGEST + 1)
    ants: ANTS = request.app.state.ants
    try:
        (one,) = await ants.score([content])
    except ImageError as error:
        # raised about what the client sent: its message names the picture and the reason
        raise HTTPException(422, str(error)) from None
    return {
        "known": one.verdict == "known",
        "class": one.predicted_class if one.verdict == "known" else None,
        "id_score": one.id_score,
        "threshold": ants.threshold,
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, default=8000)
    # loopback alone: put authentication in front before anybody else can reach it
    uvicorn.run(app, host="127.0.0.1", port=arguments.parse_args().port)
