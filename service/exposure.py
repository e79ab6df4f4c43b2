"""What an operator is told of a server that other machines can reach."""

import ipaddress

__all__ = ["exposure_warning"]


def exposure_warning(host: str, *, has_keys: bool) -> str | None:
    """One line on what protects a server, None where only this machine reaches it.

    Args:
        host: The address that it listens on.
        has_keys: Whether clients must show an API key.
    """
    if _is_loopback(host):
        return None
    if has_keys:
        return (
            f"API keys and texts travel in the clear to {host}: beyond a network that you trust, "
            "put a proxy with TLS in front"
        )
    return (
        f"no API keys: whoever reaches {host} is served; give --api-key-file, or listen on "
        "127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
