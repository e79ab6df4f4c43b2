"""What computes on an NVIDIA GPU: kernels in Triton, the network made of them, drawing."""
