"""The settings: flag before environment before default, sources, limits, and their page."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from service import machine_limits
from service.engine.engine import MAX_STEP_TOKENS
from service.machine_limits import CoreLimit, MachineLimits, MemoryLimit
from service.setting_spec import SettingsError
from service.settings import SETTING_SPECS, Settings
from service.settings_page import settings_page
from service.settings_sources import LoadedSettings, flag_of, load_settings, variable_of

GIB = 1 << 30
REPOSITORY = Path(__file__).resolve().parents[2]


def machine(cores: float = 2.0, memory_bytes: int = 24 * GIB) -> MachineLimits:
    return MachineLimits(
        CoreLimit(cores, f"cgroup quota of {cores:g} cores"),
        MemoryLimit(memory_bytes, "cgroup memory limit 24 GiB"),
    )


def load(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    limits: MachineLimits | None = None,
) -> LoadedSettings:
    return load_settings(arguments, environment or {}, machine=limits or machine())


def settings(*arguments: str, limits: MachineLimits | None = None) -> Settings:
    return load(*arguments, limits=limits).settings


def test_a_flag_comes_before_the_environment_and_that_before_the_default() -> None:
    """Interfaces 50."""
    environment = {"NEXTWORD_REST_PORT": "9001", "NEXTWORD_GRPC_PORT": "9002"}
    loaded = load("--rest-port", "9000", environment=environment)
    assert (loaded.settings.rest_port, loaded.settings.grpc_port) == (9000, 9002)
    assert loaded.settings.host == "127.0.0.1"
    assert loaded.sources["rest_port"] == "flag --rest-port"
    assert loaded.sources["grpc_port"] == "environment NEXTWORD_GRPC_PORT"
    assert loaded.sources["host"] == "default"


@pytest.mark.parametrize("name", list(SETTING_SPECS))
def test_every_setting_is_a_flag_a_variable_and_a_line_of_the_table(name: str) -> None:
    texts = {"model": "a=b", "pin": "a@1", "deterministic": "true", "device": "cpu"}
    texts["cors_origin"] = "https://a.example"
    spec = SETTING_SPECS[name]
    text = texts.get(name, (*spec.choices, "4096" if "port" in name else "1GiB")[0])
    if name not in ("memory_limit", "kv_cache_memory") and "GiB" in text:
        text = "7"
    # What a setting cannot do without.
    needed = ["--max-connection-age", "9"] if name == "max_connection_age_grace" else []
    from_variable = load(*needed, environment={variable_of(name): text})
    flags = [flag_of(name)] if name == "deterministic" else [flag_of(name), text, *needed]
    assert getattr(load(*flags).settings, name) == getattr(from_variable.settings, name)
    assert from_variable.sources[name] == f"environment {variable_of(name)}"
    assert f"{name} = " in from_variable.table()


@pytest.mark.parametrize(
    ("cores", "threads"), [(0.5, 1), (1.0, 1), (1.5, 1), (2.0, 2), (4.0, 4), (4.9, 4), (64.0, 64)]
)
def test_threads_follow_the_usable_cores(
    cores: float, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them for the compiled kernels; torch's threads leave one to the front."""
    limits = machine(cores=cores)
    eager = load("--executor", "eager", limits=limits)
    assert eager.settings.threads == max(1, threads - 1)
    monkeypatch.setattr(machine_limits, "KERNELS", Path(__file__))
    loaded = load(limits=limits)
    assert loaded.settings.threads == threads
    assert loaded.sources["threads"] == f"from cgroup quota of {cores:g} cores"
    monkeypatch.setattr(machine_limits, "KERNELS", tmp_path / "not built")
    assert load(limits=limits).settings.threads == eager.settings.threads


@pytest.mark.parametrize(
    ("memory_bytes", "running"), [(GIB // 4, 4), (2 * GIB, 16), (24 * GIB, 32)]
)
def test_limits_of_work_follow_the_memory(memory_bytes: int, running: int) -> None:
    loaded = load(limits=machine(memory_bytes=memory_bytes))
    assert loaded.settings.max_running == running
    assert loaded.settings.max_queued == 4 * running
    assert loaded.settings.kv_cache_memory == memory_bytes // 4
    assert loaded.settings.max_queued_tokens == memory_bytes // 8192
    assert loaded.sources["memory_limit"] == "from cgroup memory limit 24 GiB"


def test_what_follows_from_a_setting_follows_from_the_given_one() -> None:
    loaded = load("--memory-limit", "4GiB", "--max-running", "3")
    assert loaded.settings.kv_cache_memory == GIB
    assert loaded.settings.max_queued == 12
    assert loaded.sources["kv_cache_memory"] == "from memory limit 4 GiB"
    assert "kv_cache_memory = 1073741824, 1 GiB  (from memory limit 4 GiB)" in loaded.table()


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("1", 1), ("2KiB", 2048), ("1.5GiB", 3 * GIB // 2), ("512M", 512 << 20), ("1 gb", GIB)],
)
def test_sizes_have_units(text: str, num_bytes: int) -> None:
    assert settings("--kv-cache-memory", text).kv_cache_memory == num_bytes


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("--rest-port", "65536", "--rest-port must be from 0 to 65535, got 65536"),
        ("--rest-port", "8e3", "--rest-port must be a whole number, got '8e3'"),
        ("--drain-timeout", "nan", "--drain-timeout must be from 0 to 86400, got nan"),
        ("--drain-timeout", "soon", "--drain-timeout must be a number, got 'soon'"),
        ("--threads", "0", "--threads must be from 1 to 1024, got 0"),
        ("--memory-limit", "5 apples", "--memory-limit must be a size in bytes, or with a unit"),
        ("--memory-limit", "1", "--memory-limit must be from 64 MiB to"),
        ("--device", "tpu", "--device must be one of auto, cpu, cuda, got 'tpu'"),
        ("--host", "", "--host must not be empty"),
        (
            "--max-connection-age-grace",
            "5",
            "--max-connection-age-grace needs --max-connection-age",
        ),
        ("--max-running", "-1", "--max-running must be from 1 to 1024, got -1"),
    ],
)
def test_a_bad_value_is_one_line_with_the_limit_and_the_value(
    flag: str, text: str, words: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load(f"{flag}={text}")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="NEXTWORD_DETERMINISTIC must be true or false"):
        load(environment={"NEXTWORD_DETERMINISTIC": "perhaps"})


def test_lists_are_separated_by_commas_in_the_environment() -> None:
    assert load(environment={"NEXTWORD_MODEL": "a,b=c"}).settings.model == ("a", "b=c")
    assert settings("--model", "a,b", "--model", "c").model == ("a,b", "c")


def test_an_unknown_flag_and_a_shortened_one_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for flag in ("--port", "--rest"):
        with pytest.raises(SystemExit):
            load(flag, "1")
    assert "--port" in capsys.readouterr().err


def test_no_more_sequences_can_be_asked_for_than_an_engine_takes() -> None:
    """The front has a number of its own, since it imports nothing of the engine's."""
    most = str(MAX_STEP_TOKENS)
    assert load("--max-running", most).settings.max_running == MAX_STEP_TOKENS
    with pytest.raises(SettingsError, match=f"--max-running must be from 1 to {most}, got"):
        load("--max-running", str(MAX_STEP_TOKENS + 1))


def test_the_page_of_settings_is_what_the_declaration_gives() -> None:
    """`make settings` writes it again."""
    page = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page()


def test_the_page_names_every_setting() -> None:
    for name, spec in SETTING_SPECS.items():
        assert flag_of(name) in settings_page()
        assert spec.help_text[1:] in settings_page()
