"""Which versions of the store are refused, why, and of which files that was said.

Each refusal is one line in the log, one count, and a reason that /v1/models shows while it lasts.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from service.engine_link.engine_figures import EngineFigures
from service.models.model_loader import VersionRefusedError
from service.models.served_models import RefusedVersion, ServedModels
from service.models.store_scan import Signature

__all__ = ["CURRENT_FILE", "RefusalBook", "Verdict"]

_logger = logging.getLogger(__name__)

# Stands where a version would, when the file `current` or the name's folder is at fault.
CURRENT_FILE = "current"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A refusal, and the files as they were then."""

    error: VersionRefusedError
    signature: Signature


class RefusalBook:
    """All refusals that hold now.

    Args:
        models: Shows the reasons to clients.
        figures: Counts.
    """

    def __init__(self, models: ServedModels, figures: EngineFigures) -> None:
        self._models = models
        self._figures = figures
        self._verdicts: dict[str, dict[str, Verdict]] = {}
        self._faults: dict[str, str] = {}

    def verdict(self, name: str, version: str) -> Verdict | None:
        """What was last said of a version, None where it was not refused."""
        return self._verdicts.get(name, {}).get(version)

    def refuse(self, name: str, version: str, verdict: Verdict) -> None:
        """Note a refusal; the log hears of it when it is another than before."""
        before = self.verdict(name, version)
        self._verdicts.setdefault(name, {})[version] = verdict
        self._figures.swaps.labels(name, verdict.error.refusal).inc()
        if before is None or before.error.refusal is not verdict.error.refusal:
            _logger.error("%s@%s is refused: %s", name, version, verdict.error.reason)
        self._publish(name)

    def note_fault(self, name: str, fault: str | None) -> None:
        """Note why it cannot be told which version of a name is current; None is nothing."""
        if fault == self._faults.get(name):
            return
        if fault is None:
            del self._faults[name]
        else:
            self._faults[name] = fault
            self._figures.swaps.labels(name, CURRENT_FILE).inc()
            _logger.error("%s: which version is current cannot be told: %s", name, fault)
        self._publish(name)

    def keep_only(self, name: str, versions: Iterable[str]) -> None:
        """Forget the refusals of versions that nobody asks for any more."""
        asked_for = set(versions)
        verdicts = self._verdicts.get(name, {})
        if settled := verdicts.keys() - asked_for:
            self._verdicts[name] = {v: x for v, x in verdicts.items() if v not in settled}
            self._publish(name)

    def _publish(self, name: str) -> None:
        refused = [
            RefusedVersion(version, verdict.error.reason)
            for version, verdict in self._verdicts.get(name, {}).items()
        ]
        if name in self._faults:
            refused.append(RefusedVersion(CURRENT_FILE, self._faults[name]))
        self._models.set_refused(name, tuple(refused))
        self._figures.refused_versions.labels(name).set(len(refused))
