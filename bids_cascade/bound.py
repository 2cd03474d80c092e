"""Imported first by the process that workers are forked from: it ends with the app."""

from bids_cascade.children import end_with_parent

end_with_parent()
