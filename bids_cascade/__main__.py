"""``python -m bids_cascade`` is ``bids-cascade``."""

import sys

from bids_cascade.surroundings import leave_out_current_folder

leave_out_current_folder()  # where `-m` looks first
from bids_cascade.cli import main  # noqa: E402

sys.exit(main())
