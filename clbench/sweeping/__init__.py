"""Sweeps: many configurations from one file, each an ordinary run folder, in one folder."""
