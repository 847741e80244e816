"""The Gymnasium face of streams: `single` over NumPy arrays, `vector` over torch tensors."""
