"""To be imported first by the process that workers are forked from, which takes names of modules and nothing else."""

from bids_cascade.children import end_with_parent

end_with_parent()
