"""TensorDash: a processing element that skips zeros of sparse operands."""
