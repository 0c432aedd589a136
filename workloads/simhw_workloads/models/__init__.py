"""Model definitions, each written out here and checked against its published parameter count."""
