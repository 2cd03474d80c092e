"""Labelled visits and synthetic heads in, a model out. May import workflow, evaluation, selection, report and below."""
