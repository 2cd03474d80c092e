"""The nipype workflow: thin interfaces over imaging and cascade, the graph, and how it is run."""
