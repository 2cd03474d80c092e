"""The analysis levels: a page each."""
