"""Every setting of the server, declared once: name, kind, default, limits and what it means.

Flags, environment variables, their help, `--print-config` and docs/settings.md all follow from the
fields of `Settings`; `settings_sources` reads them, `default_limits` fits defaults to the machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import cast

from service import transport_settings
from service.logs import LogForm, LogLevel
from service.setting_spec import MAX_BYTES, SPEC, Kind, SettingSpec, setting

__all__ = ["DEFAULT_ROOT", "SETTING_SPECS", "Settings"]

DEFAULT_ROOT = "artifacts"
# Tokens of an engine's longest step, of which each running sequence takes at least one.
MAX_RUNNING = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server runs."""

    model: tuple[str, ...] = field(
        metadata=setting(
            Kind.LIST,
            (),
            "serve the model folder DIR under NAME, or under its own name; may be repeated",
            default_text="none",
            metavar="[NAME=]DIR",
        )
    )
    models: str = field(
        metadata=setting(
            Kind.TEXT,
            "",
            "serve every name in the model store ROOT: the version that its file current says, "
            "else the newest valid one; new versions and names are taken up while serving",
            default_text=f"{DEFAULT_ROOT}, unless --model is given",
            metavar="ROOT",
        )
    )
    pin: tuple[str, ...] = field(
        metadata=setting(
            Kind.LIST,
            (),
            "keep this version of the store loaded as well, for requests that name it; may be "
            "repeated",
            default_text="none",
            metavar="NAME@VERSION",
        )
    )
    poll_interval: float = field(
        metadata=setting(
            Kind.NUMBER,
            5.0,
            "seconds between two looks at the model store; 0 never looks again",
            limits=(0, 86400),
            metavar="SECONDS",
        )
    )
    host: str = field(
        metadata=setting(Kind.TEXT, "127.0.0.1", "address to listen on, for every port")
    )
    rest_port: int = field(
        metadata=setting(Kind.INTEGER, 8000, "port of REST; 0 takes a free one", limits=(0, 65535))
    )
    grpc_port: int = field(
        metadata=setting(Kind.INTEGER, 50051, "port of gRPC; 0 takes a free one", limits=(0, 65535))
    )
    management_port: int = field(
        metadata=setting(
            Kind.INTEGER,
            -1,
            "one more port for health and metrics alone; 0 takes a free one, -1 is none",
            limits=(-1, 65535),
        )
    )
    api_key_file: str = field(
        metadata=setting(
            Kind.TEXT,
            "",
            "serve only those who show a key of FILE, each a line KEY or KEY NAME; it is read "
            "again when it changes",
            default_text="none: whoever reaches a port is served",
            metavar="FILE",
        )
    )
    tls_certificate_file: str = field(metadata=transport_settings.TLS_CERTIFICATE_FILE)
    tls_key_file: str = field(metadata=transport_settings.TLS_KEY_FILE)
    cors_origin: tuple[str, ...] = field(metadata=transport_settings.CORS_ORIGIN)
    glass_box: str = field(
        metadata=setting(
            Kind.TEXT,
            "auto",
            "show how words are chosen: the page, inspections, /openapi.json and gRPC reflection; "
            "auto is on where only this machine reaches the server, or API keys are asked for",
            choices=("auto", "on", "off"),
        )
    )
    device: str = field(
        metadata=setting(Kind.TEXT, "auto", "where models compute", choices=("auto", "cpu", "cuda"))
    )
    dtype: str = field(
        metadata=setting(
            Kind.TEXT,
            "auto",
            "number type of the weights; auto is the folder's own where it can be computed with, "
            "else f32; int8 (cpu-kernels only) reads half as much as bf16",
            choices=("auto", "f32", "bf16", "int8"),
        )
    )
    executor: str = field(
        metadata=setting(
            Kind.TEXT,
            "auto",
            "what computes the logits; auto is cuda-graphs on an NVIDIA GPU (kernels in Triton, "
            "and steps recorded once and repeated), cpu-kernels (compiled when the project is "
            "installed) on a CPU, and eager where these cannot be had",
            choices=("auto", "eager", "cpu-kernels", "cuda-graphs"),
        )
    )
    deterministic: bool | None = field(
        metadata=setting(
            Kind.SWITCH,
            None,
            "give a request the same tokens, bit by bit, whatever runs beside it; refuse a model "
            "for which this cannot be had",
            default_text="where it costs little",
        )
    )
    threads: int = field(
        metadata=setting(
            Kind.INTEGER,
            None,
            "compute threads of each model's engine",
            default_text="the usable cores (cgroup quota, affinity, cores); one fewer where "
            "PyTorch computes",
            limits=(1, 1024),
        )
    )
    memory_limit: int = field(
        metadata=setting(
            Kind.SIZE,
            None,
            "memory of the server and all its engines; what does not fit is refused",
            default_text="the memory limit of the cgroup, or the physical memory",
            limits=(64 << 20, MAX_BYTES),
        )
    )
    kv_cache_memory: int = field(
        metadata=setting(
            Kind.SIZE,
            None,
            "memory for the key-value caches, shared evenly by the models that are served at the "
            "start; a name that comes to the store later has one more share of the same size, and "
            "so has a version that replaces another while the old one ends its requests, each only "
            "where --memory-limit has room for it",
            default_text="a quarter of --memory-limit",
            limits=(1, MAX_BYTES),
        )
    )
    max_context: int = field(
        metadata=setting(
            Kind.INTEGER,
            0,
            "longest text in tokens, prompt and continuation; 0 is each model's own, or what "
            "its share of the key-value cache holds",
            metavar="TOKENS",
        )
    )
    max_running: int = field(
        metadata=setting(
            Kind.INTEGER,
            None,
            "sequences of one model computed at once; each of a request's n choices is one",
            default_text="one for each 128 MiB of --memory-limit, from 4 to 32",
            limits=(1, MAX_RUNNING),
        )
    )
    max_queued: int = field(
        metadata=setting(
            Kind.INTEGER,
            None,
            "requests of one model that may wait beside those",
            default_text="four times --max-running",
            limits=(0, 1_000_000),
        )
    )
    max_queued_tokens: int = field(
        metadata=setting(
            Kind.INTEGER,
            None,
            "tokens that the waiting requests of one model may take, prompts and continuations",
            default_text="one for each 8 KiB of --memory-limit; a whole context at least",
            metavar="TOKENS",
        )
    )
    max_open_requests: int = field(metadata=transport_settings.MAX_OPEN_REQUESTS)
    max_connections: int = field(metadata=transport_settings.MAX_CONNECTIONS)
    max_connection_age: float = field(metadata=transport_settings.MAX_CONNECTION_AGE)
    max_connection_age_grace: float = field(metadata=transport_settings.MAX_CONNECTION_AGE_GRACE)
    receive_timeout: float = field(metadata=transport_settings.RECEIVE_TIMEOUT)
    idle_timeout: float = field(metadata=transport_settings.IDLE_TIMEOUT)
    ping_interval: float = field(metadata=transport_settings.PING_INTERVAL)
    log_level: LogLevel = field(
        metadata=setting(
            Kind.TEXT,
            "info",
            "the least that is logged; the line of each request is info",
            choices=("debug", "info", "warning", "error"),
        )
    )
    log_format: LogForm = field(
        metadata=setting(
            Kind.TEXT,
            "auto",
            "how log lines look; auto is text on a terminal and JSON elsewhere",
            choices=("auto", "text", "json"),
        )
    )
    drain_timeout: float = field(metadata=transport_settings.DRAIN_TIMEOUT)
    lame_duck: float = field(metadata=transport_settings.LAME_DUCK)


SETTING_SPECS: Mapping[str, SettingSpec] = {
    each.name: cast("SettingSpec", each.metadata[SPEC]) for each in fields(Settings)
}
