def squared(difference):
    return difference.square().sum()
