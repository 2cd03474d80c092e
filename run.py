#!/usr/bin/env python3
"""BIDS-App entry point; the same program as the command ``bids-cascade``."""

import sys

from bids_cascade.cli import main

if __name__ == "__main__":
    sys.exit(main())
