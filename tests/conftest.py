"""What all tests share: data, a live server, hypothesis profiles, no silent skips.

A test that is skipped in CI is a test that nobody runs, so there it fails.
"""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from campaigns.live.server_process import ServerProcess, running_server

REPOSITORY = Path(__file__).resolve().parent.parent
IN_CI = bool(os.environ.get("CI"))

# Accepted all the same: what no machine can be given by installing something.
REASONS_ACCEPTED_IN_CI = (
    "needs an NVIDIA GPU",
    "runs on macOS only",
    "npm is not installed",
    # Toolchains of the examples: large, and only theirs.
    "Go with gRPC is not installed",
    "Java with gRPC is not installed",
    "grpcurl is not installed",
    "needs a mount namespace of its own",
    "no Docker engine can be started here",
)

# The files that take longest, the longest first: one that a worker begins last, it ends alone.
DEAREST = (
    "tests/training/runs/test_resume.py",
    "tests/contract/test_swaps.py",
    "tests/contract/test_faults_and_leaks.py",
    "tests/training/runs/test_interruptions.py",
    "tests/training/test_crash_safety.py",
    "tests/training/runs/test_parallel.py",
    "tests/training/runs/test_command_line.py",
    "tests/deploy/test_watched_service.py",
    "tests/training/report/test_page.py",
    "tests/contract/test_drains.py",
    "tests/contract/test_rest_openapi.py",
    "tests/contract/test_parity.py",
    "tests/contract/test_life_of_a_server.py",
    "tests/deploy/test_kubernetes_server.py",
    "tests/contract/test_leaving.py",
    "tests/contract/test_openai_client.py",
)

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("local", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("ci" if IN_CI else "local")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of texts and small weights: ``$NEXTWORD_SHARED/data`` or ``../shared/data``.

    Tests that need it are skipped where it is absent, and fail there in CI.
    """
    folder = Path(os.environ.get("NEXTWORD_SHARED") or REPOSITORY.parent / "shared") / "data"
    if folder.is_dir():
        return folder
    reason = f"no test data at {folder}: set NEXTWORD_SHARED to the folder that holds data/"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published version of a random two-layer model over bytes, with a context of 4096 tokens."""
    # Brings torch, which takes seconds, and not every room needs it.
    from campaigns.live.tiny_model import publish_tiny_model

    return publish_tiny_model(tmp_path_factory.mktemp("store") / "tiny", context_tokens=4096)


@pytest.fixture(scope="session")
def artifact_with_ngram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a chat template, and an n-gram model beside the network: ``tiny:ngram``."""
    from campaigns.live.tiny_model import CHAT_TEMPLATE, publish_tiny_model

    root = tmp_path_factory.mktemp("store") / "tiny"
    return publish_tiny_model(
        root, context_tokens=4096, has_ngram=True, chat_template=CHAT_TEMPLATE
    )


@contextmanager
def _starting(artifact: Path) -> Generator[Callable[..., ServerProcess]]:
    """What starts servers, which end with the block."""
    with ExitStack() as running:

        def start(*flags: str, folder: Path | None = artifact) -> ServerProcess:
            arguments = [] if folder is None else ["--model", str(folder)]
            arguments += ["--threads", "1", "--dtype", "f32", "--device", "cpu", *flags]
            return running.enter_context(
                running_server(*arguments, module=("tests.slow_answers.server",), leave_seconds=0)
            )

        yield start


@pytest.fixture(scope="module")
def start_server(artifact: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers of the tiny model, or of ``folder``; a module's end is theirs.

    Answers of hundreds of tokens take seconds there: `tests.slow_answers`.
    """
    with _starting(artifact) as start:
        yield start


@pytest.fixture(scope="session")
def server(artifact_with_ngram: Path) -> Iterator[ServerProcess]:
    """One server that tests share; they leave it as they found it."""
    with _starting(artifact_with_ngram) as start:
        yield start("--max-running", "4", "--max-queued", "8")


def fail_if_skipped_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure in CI, unless its reason is on the list above."""
    if not (IN_CI and report.skipped and isinstance(report.longrepr, tuple)):
        return
    path, line, reason = report.longrepr
    if not any(accepted in reason for accepted in REASONS_ACCEPTED_IN_CI):
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: skipped in CI, where nothing may be: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hold every test against the rule."""
    report = yield
    fail_if_skipped_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Hold every module against the rule: a missing import skips all of its tests at once."""
    report = yield
    fail_if_skipped_in_ci(report)
    return report


class _Scheduling(LoadFileScheduling):
    """Files are shared out among the workers whole, the dearest first, then those of most tests.

    The room of one engine is a single file.
    """

    def _split_scope(self, nodeid: str) -> str:
        room = "tests/docker/"
        return room if nodeid.startswith(room) else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        places = {file: place for place, file in enumerate(DEAREST)}
        dearest = min(self.workqueue, key=lambda file: places.get(file, len(places)))
        self.workqueue.move_to_end(dearest, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Keep the containers of two workers from measuring each other."""
    if missing := [file for file in DEAREST if not (REPOSITORY / file).is_file()]:
        raise pytest.UsageError(f"tests/conftest.py: DEAREST names what is not there: {missing}")
    is_by_file = config.getoption("dist") == "loadfile"
    return _Scheduling(config, log) if is_by_file else None
