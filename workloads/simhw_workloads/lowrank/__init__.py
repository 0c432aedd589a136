"""Low-rank surgery: layers become chains of thin ones, whose parts are frozen, merged into neighbours, branched, or put
together again.
"""
