"""How a campaign says by its exit status whether its control was noticed.

A campaign that runs against a broken build must tell "found it" from "fell over": any exception
ends Python with 1. `make` therefore takes only the status below for a control that worked.
"""

from collections.abc import Sequence

__all__ = ["NOTICED", "control_status"]

# Not 0 (unnoticed), 1 (an exception) or 2 (wrong options).
NOTICED = 3
MAX_SHOWN = 5


def control_status(noticed: Sequence[str], *, is_complete: bool = True) -> int:
    """Print what a control found, and give its exit status.

    Args:
        noticed: What was found wrong with the broken build, a line each.
        is_complete: Whether everything that was broken is among it.
    """
    for line in noticed[:MAX_SHOWN]:
        print(f"  noticed: {line[:300]}")
    if len(noticed) > MAX_SHOWN:
        print(f"  and {len(noticed) - MAX_SHOWN} more")
    if noticed and is_complete:
        print("control: noticed")
        return NOTICED
    print("control: UNNOTICED" + (", not all of it was found" if noticed else ""))
    return 0
