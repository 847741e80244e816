"""`python -m clbench.sweep`: see `clbench/commands/sweep.py`."""

import sys

if __name__ != "__main__":  # `clbench.sweep` is a function: this file must not replace it
    raise ImportError("clbench.sweep is a function: from clbench import sweep", name="clbench.sweep")

from clbench.commands.main import main_of

sys.exit(main_of("sweep"))
