"""Tables of figures, and those that clbench 0.1 wrote."""

import numpy as np
import pandas as pd
import pytest

from studies.noise_curvature.frames import modernized

NONE, DEAD = np.inf, np.nan


@pytest.mark.parametrize("long", [True, False])
def test_tables_of_clbench_0_1_are_read_as_today(long):
    old = pd.DataFrame(
        {
            "noise_bound": [0.0, 3.40282347e38, 0.5],
            "combined_bound": [0.0, 0.5, 2e30],
            "volatility_bound": [3.40282347e38, 1e9, 0.0],
            "rho": [0.0, 1e31, 1.0],
        }
    )
    today = pd.DataFrame(
        {
            "noise_bound": [DEAD, NONE, 0.5],
            "combined_bound": [DEAD, 0.5, NONE],
            "volatility_bound": [NONE, 1e9, 0.0],
            "rho": [0.0, 1e31, 1.0],
        }
    )
    if long:
        old, today = (table.melt(var_name="indicator") for table in (old, today))
    pd.testing.assert_frame_equal(modernized(old), today)
