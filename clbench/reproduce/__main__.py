"""`python -m clbench.reproduce FIGURE`: see `clbench/reproduce/cli.py`."""

import sys

from clbench.reproduce.cli import main

sys.exit(main())
