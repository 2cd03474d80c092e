"""The visits and images of a BIDS dataset (pybids). May import config, errors and file helpers only."""
