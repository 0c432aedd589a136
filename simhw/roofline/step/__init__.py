"""What a framework executes for one step of a network: kernels of the forward and backward pass and the update."""
