"""What there is to process in a BIDS dataset (pybids). May import config, errors and file helpers only."""
