"""The slower fault campaign; see README.md."""
