"""`python -m hf_vasso` is the command `hf-vasso`."""

import sys

from hf_vasso.cli import main

if __name__ == "__main__":
    sys.exit(main())
