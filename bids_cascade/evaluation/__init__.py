"""Masks beside masks: metrics, matched lesions, intervals, tables. May import derivatives, lesions and below."""
