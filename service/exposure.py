"""What an operator is told of a server that other machines can reach."""

import ipaddress

__all__ = ["exposure_warning", "offers_glass_box"]


def exposure_warning(
    host: str, *, has_keys: bool, management_port: int | None, has_tls: bool = False
) -> str | None:
    """One line on what protects a server, None where only this machine reaches it.

    Args:
        host: The address that it listens on.
        has_keys: Whether clients must show an API key.
        management_port: Of health and metrics, None where there is none.
        has_tls: Whether REST and gRPC are encrypted.
    """
    if _is_loopback(host):
        return None
    warnings: list[str] = []
    if not has_keys:
        warnings.append(
            f"no API keys: whoever reaches {host} is served; give --api-key-file, or listen on "
            "127.0.0.1"
        )
    elif not has_tls:
        warnings.append(
            f"API keys and texts travel in the clear to {host}: beyond a network that you trust, "
            "give --tls-certificate-file and --tls-key-file, or put a proxy with TLS in front"
        )
    if management_port is not None:
        warnings.append(
            f"--management-port {management_port} shows health and metrics to whoever reaches "
            "it, with or without keys"
        )
    return "; ".join(warnings) or None


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
