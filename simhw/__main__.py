"""`python -m simhw` is the same as `simhw`."""

import sys

from simhw.cli import main

if __name__ == "__main__":
    sys.exit(main())
