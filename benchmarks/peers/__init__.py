"""Agents that train by the code of other projects, each from a checkout that you have: `python -m benchmarks.peers`."""
