"""`python -m clbench.resume`: see `clbench/commands/resume.py`."""

import sys

if __name__ != "__main__":  # `clbench.resume` is a function: this file must not replace it
    raise ImportError("clbench.resume is a function: from clbench import resume", name="clbench.resume")

from clbench.commands.main import main_of

sys.exit(main_of("resume"))
