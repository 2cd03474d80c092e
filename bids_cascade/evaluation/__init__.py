"""Lesion masks and their references: metrics, matched lesions, intervals, tables. May import derivatives and below."""
