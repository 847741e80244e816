import numpy as np


def PRNGKey(seed):
    return np.array([0, seed])


def split(key):
    return key + [1, 0], key * [1, 7]
