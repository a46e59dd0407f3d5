"""The reports that browser tests look at, each written once."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.report_world import HOSTILE, PLAIN, detector, features, picture_files, pictures, taught

MANY = 5000


def made(report: Coroutine[Any, Any, Path]) -> Path:
    """Run in a thread of its own: where Playwright has begun, this one has a loop that runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, report).result()


async def _small(folder: Path) -> Path:
    ants = await taught(store=folder)
    rows, labels = features(240, PLAIN)
    files = picture_files(folder / "pictures", 240)
    return await ants.write_report(folder / "small.html", files, features=rows, labels=labels, title="Small world")


async def _hostile(folder: Path) -> Path:
    ants = await taught(HOSTILE, HOSTILE)
    rows, labels = features(120, HOSTILE)
    return await ants.write_report(
        folder / "hostile.html", pictures(120), features=rows, labels=labels, title=HOSTILE[0]
    )


async def _many(folder: Path) -> Path:
    ants = await taught()
    rows, labels = features(MANY, PLAIN, seed=9)
    return await ants.write_report(folder / "many.html", pictures(MANY), features=rows, labels=labels)


async def _taught(folder: Path) -> Path:
    files = picture_files(folder / "pictures", 60)
    rows, labels = features(60, PLAIN)
    ants = detector()
    async for _ in ants.stream(files, features=rows, batch_size=20):
        pass
    return await ants.write_report(folder / "taught.html", files, features=rows, labels=labels)


async def _bare(folder: Path) -> Path:
    ants = detector()
    return await ants.write_report(folder / "bare.html")


@pytest.fixture(scope="session")
def small_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 labelled pictures, a detector that a stream has gone through, and its run."""
    return made(_small(tmp_path_factory.mktemp("small")))


@pytest.fixture(scope="session")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Markup in class names, answers, and the title."""
    return made(_hostile(tmp_path_factory.mktemp("hostile")))


@pytest.fixture(scope="session")
def large_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 labelled pictures."""
    return made(_many(tmp_path_factory.mktemp("many")))


@pytest.fixture(scope="session")
def taught_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The very pictures that the detector has learned from."""
    return made(_taught(tmp_path_factory.mktemp("taught")))


@pytest.fixture(scope="session")
def bare_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that has seen nothing."""
    return made(_bare(tmp_path_factory.mktemp("bare")))
