"""Off-chip and on-chip memory."""
