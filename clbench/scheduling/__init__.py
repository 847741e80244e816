"""The per-layer step-size scheduler and its variants, for any PyTorch loop and for stacked networks."""

from clbench.scheduling.monitor import StepSizeMonitor as StepSizeMonitor
from clbench.scheduling.rule import Constants as Constants
from clbench.scheduling.rule import factors as factors
from clbench.scheduling.schedulers import SCHEDULERS as SCHEDULERS
from clbench.scheduling.schedulers import FullNetworkScheduler as FullNetworkScheduler
from clbench.scheduling.schedulers import NoiseOnlyScheduler as NoiseOnlyScheduler
from clbench.scheduling.schedulers import PerLayerScheduler as PerLayerScheduler
from clbench.scheduling.schedulers import VolatilityOnlyScheduler as VolatilityOnlyScheduler
