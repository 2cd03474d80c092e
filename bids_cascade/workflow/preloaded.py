"""To be imported by the process that workers are forked from, which takes names of modules and nothing else."""

from bids_cascade.workflow.workers import load_needed

load_needed()
