"""Tests of the codecs, mirroring simhw/compression/."""
