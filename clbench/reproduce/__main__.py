"""`python -m clbench.reproduce FIGURE`: see `clbench/reproduce/cli.py`."""

import sys

from clbench.reproduce.cli import main

if __name__ == "__main__":
    sys.exit(main())
