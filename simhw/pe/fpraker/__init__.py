"""FPRaker: a term-serial bfloat16 processing element."""
