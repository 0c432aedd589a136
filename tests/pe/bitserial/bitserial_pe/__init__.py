"""A bit-serial processing element for simhw, with its machine, a device and a technique that suits it."""
