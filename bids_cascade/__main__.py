"""``python -m bids_cascade`` is ``bids-cascade``."""

import sys

from bids_cascade.cli import main

sys.exit(main())
