"""Evaluation: plan jobs, run them in worker processes, watch them, write the run folder."""
