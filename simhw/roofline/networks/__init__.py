"""Networks that come with simhw, as layer lists, and those that are put together by a function."""
