def to_state_dict(tree):
    if isinstance(tree, tuple):
        return {str(index): to_state_dict(item) for index, item in enumerate(tree)}
    return {key: to_state_dict(item) for key, item in vars(tree).items()} if hasattr(tree, "params") else tree


def from_state_dict(tree, state):
    if isinstance(tree, tuple):
        return tuple(from_state_dict(item, state[str(index)]) for index, item in enumerate(tree))
    return type(tree)(**state) if hasattr(tree, "params") else state
