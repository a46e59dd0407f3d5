"""Ask a server of your own: anything that speaks OpenAI's chat completions API (vLLM, Ollama, llama.cpp, LM Studio, …).

python examples/own_server.py http://localhost:8000/v1 my-model
"""

import asyncio
import sys

from ants_engine import ANTS, ProgressEvent
from ants_engine.errors import BackendError, NotEnoughAnswersError

CLASSES = ["lion", "elephant", "panda", "zebra", "banana"]
PICTURES = "examples/emoji_world/pictures/images/*/*/00.jpg"


def show(event: ProgressEvent) -> None:
    """Print when a stage is done."""
    if event.done == event.total:
        print(f"{event.stage}: {event.done}")


async def main(base_url: str, model: str) -> None:
    """Build with ten pictures described, and say what it took."""
    try:
        ants = await ANTS.build(
            CLASSES,
            PICTURES,
            config="examples/emoji_world",  # for its CLIP and lexicon
            # keywords win over the ants.toml: its MLLM is a folder
            mllm={"backend": "openai", "base_url": base_url, "model": model, "api_key_env": "MY_SERVER_KEY"},
            mining={"max_images": 10},
            dispatch={"budget": {"requests": 200}, "prices": {"million_prompt_tokens": 0.5}},
            on_progress=show,
        )
    except NotEnoughAnswersError as error:
        # what was answered is kept: call it again, and only the rest is asked
        sys.exit("\n".join([str(error), *(f"  {type(cause).__name__}: {cause}" for cause in error.exceptions)]))
    except BackendError as error:
        sys.exit(f"the server cannot be asked: {type(error).__name__}: {error}")
    report = ants.report
    print(report)
    print(f"{report.prompt_tokens} prompt and {report.completion_tokens} completion tokens, cost {report.cost:.6f}")
    print("\n".join(ants.detector.ens.texts[:5]))


asyncio.run(main(*sys.argv[1:3]))
