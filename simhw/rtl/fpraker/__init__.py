"""The FPRaker processing element as hardware, one file a unit."""
