"""Imported by the process that workers are forked from: loads what the steps need."""

from bids_cascade.workflow.workers import load_needed

load_needed()
