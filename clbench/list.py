"""`python -m clbench.list`: see `clbench/commands/list.py`."""

import sys

from clbench.commands.main import main_of

if __name__ == "__main__":
    sys.exit(main_of("list"))
