"""Low-rank surgery: layers become chains of thin ones.  Their parts are frozen, merged, branched or recomposed."""
