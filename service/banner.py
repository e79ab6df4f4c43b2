"""What a person reads when the server is ready: which model, where, and a line to try."""

import shlex

import msgspec

from service.models.served_models import ServedModels

__all__ = ["address_text", "banner"]

EXAMPLE = {"prompt": "Once upon a time", "stream": True}


def banner(
    models: ServedModels,
    host: str,
    *,
    rest_port: int,
    grpc_port: int,
    management_port: int | None,
    num_keys: int | None = None,
    has_glass_box: bool = True,
    has_tls: bool = False,
) -> str:
    """The lines to print; the last one is a command.

    Args:
        num_keys: API keys in force, None where nobody is asked for one.
        has_glass_box: Whether the page and what it shows are offered.
        has_tls: Whether REST and gRPC are encrypted.
    """
    default = models.default.folder
    others = ", ".join(model.label for model in models.all[1:])
    rest = f"{'https' if has_tls else 'http'}://{address_text(host, rest_port)}"
    body = shlex.quote(msgspec.json.encode(EXAMPLE).decode())
    lines = [
        f"Serving {default.name}, version {default.version}, "
        f"{default.artifact.config.num_parameters / 1e6:.1f} M parameters"
        + (f" (requests that name no model); also {others}" if others else ""),
        f"  REST  {rest}",
        f"  gRPC  {address_text(host, grpc_port)}" + (" with TLS" if has_tls else ""),
    ]
    if has_glass_box:
        lines.insert(1, f"  page  {rest}/ shows how words are chosen")
    else:
        lines.append("  glass box off: no page, inspections, /openapi.json, gRPC reflection")
    if management_port is not None:
        lines.append(f"  health and metrics also  http://{address_text(host, management_port)}")
    authorization = ""
    if num_keys is not None:
        lines.append(f"  API keys: {num_keys}, asked for by REST and gRPC")
        # A reference: a key that is typed stays in the shell's history.
        authorization = '-H "Authorization: Bearer $NEXTWORD_API_KEY" '
    lines.append(
        f"  try   curl -N {rest}/v1/generate {authorization}"
        f"-H 'Content-Type: application/json' -d {body}"
    )
    return "\n".join(lines)


def address_text(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an address of version 6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
