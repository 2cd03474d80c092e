"""Imported first by the fork server, which then ends with the app."""

from bids_cascade.children import end_with_parent

end_with_parent()
