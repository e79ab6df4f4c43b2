"""What an operator is told of a server that other machines can reach."""

import ipaddress

__all__ = ["exposure_warning", "offers_glass_box"]


def exposure_warning(host: str, *, has_keys: bool, management_port: int | None) -> str | None:
    """One line on what protects a server, None where only this machine reaches it.

    Args:
        host: The address that it listens on.
        has_keys: Whether clients must show an API key.
        management_port: Of health and metrics, None where there is none.
    """
    if _is_loopback(host):
        return None
    if has_keys:
        warning = (
            f"API keys and texts travel in the clear to {host}: beyond a network that you trust, "
            "put a proxy with TLS in front"
        )
    else:
        warning = (
            f"no API keys: whoever reaches {host} is served; give --api-key-file, or listen on "
            "127.0.0.1"
        )
    if management_port is not None:
        warning += (
            f"; --management-port {management_port} shows health and metrics to whoever reaches "
            "it, with or without keys"
        )
    return warning


def offers_glass_box(choice: str, host: str, *, has_keys: bool) -> bool:
    """Whether a server shows how its words are chosen.

    Args:
        choice: What --glass-box says: "on", "off", or "auto": not to everybody out there.
        host: The address that it listens on.
        has_keys: Whether clients must show an API key.
    """
    return choice == "on" or (choice == "auto" and (has_keys or _is_loopback(host)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
