"""The network on a CPU by kernels of our own: their build, packed weights, and the executor."""
