"""The nipype workflow: thin interfaces over tested functions, the graph, the runner. May import report and below."""
