"""What an output is called, how it is written, and how it is read back. May import dataset, models and below."""
