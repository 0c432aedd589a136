"""Files that nobody vouches for are read with care, and files of ours are written whole or not at all."""
