"""Draws the dashboard of a running Prometheus into a picture: `python -m deploy.dashboard`."""

import argparse
import sys
import time
from pathlib import Path

from deploy.dashboard.drawing import Span, draw
from deploy.dashboard.panels import DashboardError, read_dashboard
from deploy.dashboard.prometheus_api import Prometheus, PrometheusError

_NUM_STEPS = 200
# Grafana takes four scrapes at least; those of deploy/prometheus come every five seconds.
_MIN_WINDOW_SECONDS = 20


def main() -> int:
    """Draw; 0 when it is done, 1 when Prometheus or the dashboard cannot be read, 2 when asked
    for something wrong."""
    parser = argparse.ArgumentParser(prog="python -m deploy.dashboard", description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9092", metavar="URL")
    parser.add_argument("--minutes", type=float, default=30, help="back from now (default: 30)")
    parser.add_argument("--output", type=Path, default=Path("dashboard.png"), metavar="PNG")
    arguments = parser.parse_args()
    if not 0.1 <= arguments.minutes <= 1e6:
        parser.error(f"--minutes must be from 0.1 to 1000000, got {arguments.minutes:g}")
    now = time.time()
    step = max(1, round(60 * arguments.minutes / _NUM_STEPS))
    window = f"{max(_MIN_WINDOW_SECONDS, 4 * step)}s"
    span = Span(now - 60 * arguments.minutes, now, step=step, window=window)
    try:
        drawn = draw(read_dashboard(), Prometheus(arguments.prometheus), span, arguments.output)
    except (DashboardError, PrometheusError, OSError) as error:
        print(f"deploy.dashboard: {error}", file=sys.stderr)
        return 1
    num_empty = sum(not any(each.has_numbers for _, each in item.series) for item in drawn)
    print(f"{arguments.output}: {len(drawn)} panels, {num_empty} of them without values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
