"""Run what is missing: from run configs, through worker processes or a Ray cluster, to run folders."""
