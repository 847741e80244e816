"""Sweeps: many runs from one file, each in an ordinary run folder, all in one folder."""
