"""clbench tells whether a learner keeps its ability to learn.

Importing it registers the streams with Gymnasium, as "clbench/RandomLabelMNIST-v0" and so on. It stays cheap, since
every other public name loads its module when first used.
"""

import clbench.forking  # noqa: F401 - it notes which process imports clbench
from clbench.registration import make as make
from clbench.registration import make_vec as make_vec
from clbench.registration import register as register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from clbench import indicators as indicators
    from clbench.agent import Agent as Agent
    from clbench.agent import AgentSpec as AgentSpec
    from clbench.api import evaluate as evaluate
    from clbench.api import resume as resume
    from clbench.data import LabelledData as LabelledData
    from clbench.data import load_images as load_images
    from clbench.engine.evaluation import Evaluation as Evaluation
    from clbench.envs.contract import check_env as check_env
    from clbench.errors import ClbenchError as ClbenchError
    from clbench.recording import record as record
    from clbench.results.loading import load_results as load_results
    from clbench.scheduling import PerLayerScheduler as PerLayerScheduler
    from clbench.specs import PROTOCOLS as PROTOCOLS
    from clbench.specs import StreamSpec as StreamSpec
    from clbench.streams import Stream as Stream
    from clbench.streams import Task as Task
    from clbench.sweeps.api import sweep as sweep
    from clbench.sweeps.plan import plan_sweep as plan_sweep

    __version__: str

_PUBLIC = {
    "Agent": "clbench.agent",
    "AgentSpec": "clbench.agent",
    "ClbenchError": "clbench.errors",
    "Evaluation": "clbench.engine.evaluation",
    "LabelledData": "clbench.data",
    "PROTOCOLS": "clbench.specs",
    "PerLayerScheduler": "clbench.scheduling",
    "Stream": "clbench.streams",
    "StreamSpec": "clbench.specs",
    "Task": "clbench.streams",
    "check_env": "clbench.envs.contract",
    "evaluate": "clbench.api",
    "indicators": "clbench.indicators",
    "load_images": "clbench.data",
    "load_results": "clbench.results.loading",
    "plan_sweep": "clbench.sweeps.plan",
    "record": "clbench.recording",
    "resume": "clbench.api",
    "sweep": "clbench.sweeps.api",
}

__all__ = [*_PUBLIC, "make", "make_vec", "register", "__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    if name not in _PUBLIC:
        raise AttributeError(f"module 'clbench' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_PUBLIC[name])
    value = module if module.__name__ == f"clbench.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def _version() -> str:
    """Return the installed version, "0+unknown" for a source tree that is on the path without being installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("clbench")
    except PackageNotFoundError:
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted(__all__)
