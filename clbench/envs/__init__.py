"""Streams as Gymnasium environments: `single` over NumPy arrays, `vector` over torch tensors."""
