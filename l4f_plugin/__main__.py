"""`python3 -m l4f_plugin` is the same as `l4f`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
