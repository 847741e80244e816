"""Trainability indicators: pure functions of model, loss, batch and optimizer state.

Each returns a dictionary: a value per layer and one for `WHOLE`, scalars or `(S,)` for S `Stacked` networks. Nothing is
changed: weights, their `grad`, modes, buffers, random states.

They share these arguments:

- `model`: a `torch.nn.Module`, or `Stacked` ones;
- `loss_fn`: from outputs and targets to the batch's mean loss;
- `inputs`, `targets`: `(B, ...)`, or `(S, B, ...)` for stacked networks;
- `penalty`: from parameters by name to what is added to the loss, `(S,)` for stacked networks;
- `layers`: which parameters are a layer, see `layer_parameters`;
- `seeds`: of random vectors, one per network; by default 0, 1, ...

`UndefinedError` is raised where an indicator is not defined: per-sample gradients with batch normalisation in training
mode, hidden units without a hidden layer.
"""

from clbench.indicators.bounds import CriticalStepSizes as CriticalStepSizes
from clbench.indicators.bounds import cantelli_cap as cantelli_cap
from clbench.indicators.bounds import critical_step_sizes as critical_step_sizes
from clbench.indicators.bounds import predicted_loss_of_trainability as predicted_loss_of_trainability
from clbench.indicators.curvature import PowerIteration as PowerIteration
from clbench.indicators.curvature import normalized_sharpness as normalized_sharpness
from clbench.indicators.curvature import sharpness as sharpness
from clbench.indicators.gradients import gradient_noise as gradient_noise
from clbench.indicators.gradients import gradient_norm as gradient_norm
from clbench.indicators.gradients import gradient_parameter_ratio as gradient_parameter_ratio
from clbench.indicators.gradients import weight_norm as weight_norm
from clbench.indicators.layers import WHOLE as WHOLE
from clbench.indicators.layers import LayerChoice as LayerChoice
from clbench.indicators.layers import layer_parameters as layer_parameters
from clbench.indicators.rank import feature_rank as feature_rank
from clbench.indicators.rank import hessian_rank as hessian_rank
from clbench.indicators.rank import rank_projected_step_size as rank_projected_step_size
from clbench.indicators.reported import ReportsSecondMoments as ReportsSecondMoments
from clbench.indicators.stacked import Stacked as Stacked
from clbench.indicators.step_size import aggregated_step_size as aggregated_step_size
from clbench.indicators.step_size import effective_step_size as effective_step_size
from clbench.indicators.units import dormant_units as dormant_units
from clbench.indicators.units import unit_sign_entropy as unit_sign_entropy
from clbench.indicators.volatility import VolatilityTracker as VolatilityTracker
