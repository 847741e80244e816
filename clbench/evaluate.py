"""`python -m clbench.evaluate`: see `clbench/commands/evaluate.py`."""

import sys

if __name__ != "__main__":  # `clbench.evaluate` is a function: this file must not replace it
    raise ImportError("clbench.evaluate is a function: from clbench import evaluate", name="clbench.evaluate")

from clbench.commands.main import main_of

sys.exit(main_of("evaluate"))
