"""Machines: what their files state, what they are made of, and what that costs."""
