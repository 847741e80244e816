"""`python -m clbench.evaluate AGENT ...`: see `clbench/evaluation/cli.py`."""

import sys

if __name__ == "__main__":
    from clbench.evaluation.cli import main

    sys.exit(main())

# Importing this module must not hide the function of the same name from `clbench.evaluate(...)`.
from clbench.evaluation.api import evaluate

sys.modules[__name__] = evaluate  # type: ignore[assignment]
