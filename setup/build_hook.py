"""hatchling's hook: the compiled CPU kernels go into a wheel, which then fits one platform.

Without a C++ compiler the wheel is pure Python, and its service computes with PyTorch's operations.
"""

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILD_SCRIPT = "service/engine/cpu/build.py"


class KernelBuildHook(BuildHookInterface):  # pyright: ignore[reportMissingTypeArgument]
    """Compiles before files are collected; an editable install finds the library in the tree."""

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Build the library and say which platform the wheel is for.

        Raises:
            SystemExit: It cannot be built and NEXTWORD_REQUIRE_KERNELS is set.
        """
        kernels = _load(Path(self.root) / BUILD_SCRIPT)
        if kernels.main() != 0:
            raise SystemExit("the CPU kernels are required and could not be built")
        if version == "editable" or not kernels.is_current():
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        # Nothing in it knows Python's own binary interface.
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"] = [str(Path(kernels.LIBRARY).relative_to(self.root))]


def _load(script: Path) -> ModuleType:
    # Not by its package's name: nothing of ours is installed when this runs.
    description = importlib.util.spec_from_file_location("kernel_build", script)
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    return module
