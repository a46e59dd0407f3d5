"""For all tests: no network to model hubs, no settings from outside, and the same examples on every run."""

import os
import signal

import pytest
from hypothesis import settings

# read when huggingface_hub is imported, so it must be there first
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# a shell that starts the tests in the background has them, and every process that they start, ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured and do not judge; the output of a process of pytest-xdist is not shown."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(str(value))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have ANTS_… variables set."""
    for name in [name for name in os.environ if name.startswith("ANTS_")]:
        monkeypatch.delenv(name)
