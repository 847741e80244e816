"""`python -m clbench.leaderboard COMMAND`: see `clbench/leaderboard/cli.py`."""

import sys

from clbench.leaderboard.cli import main

sys.exit(main())
