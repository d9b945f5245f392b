"""`python -m fastproxy.cli` is the command `fastproxy`."""

import sys

from fastproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
