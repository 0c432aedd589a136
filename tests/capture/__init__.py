"""Tests of capture, mirroring simhw/capture/."""
