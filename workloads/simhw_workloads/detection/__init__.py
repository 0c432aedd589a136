"""Single-shot detection around the network: default boxes, loss, suppression and average precision."""
