"""Selected visits segmented, recorded and compared. May import selection, longitudinal, workflow, report and below."""
