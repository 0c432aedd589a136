"""What the weights of layers are held to: sets that they are projected on, penalties, and masks."""
