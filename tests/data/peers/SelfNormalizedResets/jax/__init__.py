from types import SimpleNamespace


def jit(function):
    return function


def map_tree(function, tree):
    return {key: map_tree(function, value) for key, value in tree.items()} if isinstance(tree, dict) else function(tree)


tree_util = SimpleNamespace(tree_map=map_tree)
