"""A processing element in a package of its own: it skips sets whose values of X are all zero."""
