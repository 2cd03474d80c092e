"""What there is to process in a BIDS dataset, and what a derivative is called (pybids)."""
