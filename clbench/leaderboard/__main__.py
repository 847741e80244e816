"""`clbench leaderboard`: see `clbench/commands/leaderboard.py`."""

import sys

from clbench.commands.main import main_of

sys.exit(main_of("leaderboard"))
