"""Networks by shape: what their layers are, and how they are read from layer lists, tables, topologies and traces."""
