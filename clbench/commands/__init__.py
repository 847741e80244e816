"""The command `clbench` and its parts, each also `python -m clbench.NAME`."""
