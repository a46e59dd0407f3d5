"""The command group and what its commands share: error handling and exit codes."""

import sys

import click

from ants_engine.cli.build import build, replay
from ants_engine.cli.configuration import backends, prompts, settings
from ants_engine.cli.demo import demo
from ants_engine.cli.eval import evaluate_methods
from ants_engine.cli.output import say
from ants_engine.cli.report import report
from ants_engine.cli.run import run
from ants_engine.cli.score import calibrate, explain, score
from ants_engine.cli.serve import serve
from ants_engine.cli.store import store
from ants_engine.cli.stream import stream
from ants_engine.common.terminal_text import plain

EPILOG = (
    "Exit codes: 0 done; 1 it went wrong (the MLLM, the store, a model); 2 the call, its input or its settings need "
    "correcting; 3 done, but some pictures or folders could not be read (they are listed); 130 interrupted."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(package_name="ants-engine")
def commands() -> None:
    """Zero-shot out-of-distribution detection with CLIP and a multimodal LLM."""


COMMANDS = (
    build, score, stream, calibrate, explain, report, serve, replay, run, store, prompts, backends, settings, demo,
    evaluate_methods,
)  # fmt: skip
for command in COMMANDS:
    commands.add_command(command)
# the name that it had before, until 1.0; not listed
commands.add_command(click.Group("cache", store.commands, help=store.help, hidden=True))


def main() -> None:
    """Run the command line; one line for an error that has a name, a traceback for a defect of ours."""
    from ants_engine.errors import ANTSError, ImageError, UsageError

    try:
        code = commands.main(standalone_mode=False)
    except click.ClickException as error:
        _show(error)
        code = 2
    except click.Abort:
        say("interrupted", err=True)
        code = 130
    except ANTSError as error:
        say(plain(f"ants: {type(error).__name__}: {error}"), err=True)
        if isinstance(error, ExceptionGroup):
            for cause in error.exceptions:
                say(plain(f"  - {type(cause).__name__}: {cause}"), err=True)
        code = 2 if isinstance(error, (UsageError, ImageError)) else 1
    sys.exit(code if isinstance(code, int) else 0)


def _show(error: click.ClickException) -> None:
    """Print a mistake in the call as click words it; the arguments that it repeats may be names of files."""
    # click itself would take colours out without a word, and leave every other escape in
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        say(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n", err=True)
    worded = error.format_message()
    # only click's list of choices has lines of its own
    say(f"Error: {worded if isinstance(error, click.MissingParameter) else plain(worded)}", err=True)
