"""Tests of the rooflines, mirroring simhw/roofline/."""
