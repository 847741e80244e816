"""`python -m clbench.sweep SWEEP.toml`: see `clbench/sweeping/cli.py`."""

import sys

if __name__ == "__main__":
    from clbench.sweeping.cli import main

    sys.exit(main())

# Importing this module must not hide the function of the same name from `clbench.sweep(...)`.
from clbench.sweeping.api import sweep

sys.modules[__name__] = sweep  # type: ignore[assignment]
