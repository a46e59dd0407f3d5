"""``ants serve``: answer requests over HTTP with a saved detector."""

from pathlib import Path

import click

from ants_engine.cli.options import note_unused, overrides, with_assignments
from ants_engine.cli.output import say
from ants_engine.common.terminal_text import plain

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


@click.command()
@click.argument("detector", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the token that clients have to send; else the variable ANTS_SERVE_TOKEN.",
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name under which clients reach it.")
@click.option(
    "--batch-size", default=32, show_default=True, type=click.IntRange(1, 1024), help="Pictures CLIP sees together."
)
@click.option(
    "--max-body", default=32, show_default=True, type=click.IntRange(1, 1024), help="MiB that one request may have."
)
@click.option(
    "--max-pictures", default=64, show_default=True, type=click.IntRange(1, 4096), help="Pictures in one request."
)
@click.option(
    "--max-waiting", default=256, show_default=True, type=click.IntRange(1), help="Pictures accepted at a time."
)
@click.option("--upload-timeout", default=30.0, show_default=True, help="Seconds for a request's body to arrive.")
@click.option("--request-timeout", default=60.0, show_default=True, help="Seconds from body to answer.")
@click.option("--grace", default=30, show_default=True, help="Seconds to answer what was accepted, when it stops.")
@click.option(
    "--streams", default=0, show_default=True, type=click.IntRange(0, 1000), help="Named streams that may be open."
)
@click.option(
    "--streams-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where streams are saved when it stops, and found again.",
)
@with_assignments
def serve(
    detector: Path,
    host: str,
    port: int,
    token_file: Path | None,
    hosts: tuple[str, ...],
    batch_size: int,
    max_body: int,
    max_pictures: int,
    max_waiting: int,
    upload_timeout: float,
    request_timeout: float,
    grace: int,
    streams: int,
    streams_folder: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Answer requests over HTTP with the DETECTOR folder, until Ctrl-C or SIGTERM.

    A page to drop pictures on is at /, the API's description at /docs.
    """
    check_installed("ants serve", NEEDED)
    from ants_engine.learning.preflight import check_detector, check_detector_out
    from ants_engine.serve.access import listen, read_token
    from ants_engine.serve.options import ServeOptions

    if streams_folder is not None and not streams:
        raise click.UsageError("--streams-folder needs --streams N, the number of streams that may be open")
    options = ServeOptions(
        host=host,
        port=port,
        token=read_token(token_file),
        hosts=hosts,
        batch_size=batch_size,
        max_body=max_body << 20,
        # one request of the largest size, and room for others beside it
        max_held=max(128, 2 * max_body) << 20,
        max_pictures=max_pictures,
        max_waiting=max(max_waiting, max_pictures),
        upload_timeout=upload_timeout,
        header_timeout=min(10.0, upload_timeout),
        request_timeout=request_timeout,
        grace=grace,
        streams=streams,
        streams_folder=streams_folder,
    )
    keywords = overrides(assignments)
    check_detector(detector)
    if streams_folder is not None:
        check_detector_out(streams_folder)
    bound = listen(options)
    # only now what takes seconds to import
    from ants_engine import ANTS
    from ants_engine.serve.server import serve as run

    # CLIP must not cut a batch of ours in two
    keywords["clip"] = {**keywords.get("clip", {}), "batch_size": batch_size}
    ants = ANTS.load(detector, **keywords)
    if not streams:
        note_unused(keywords)
    if streams_folder is not None:
        streams_folder.mkdir(parents=True, exist_ok=True)
    say(f"loading {plain(str(detector))} …", err=True)
    problems = run(ants, bound, options, lambda address: say(f"listening on {address} (Ctrl-C stops it)", err=True))
    for problem in problems:
        say(plain(problem), err=True)
    say("stopped", err=True)
    return 1 if problems else 0


def check_installed(what: str, packages: tuple[str, ...]) -> None:
    """Check that packages of the extra ``serve`` are installed, before anything costs time.

    Raises:
        MissingDependencyError: names those that are not.
    """
    from importlib.util import find_spec

    from ants_engine.errors import MissingDependencyError

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f'{what} needs {", ".join(missing)}: pip install "ants-engine[serve]"')
