"""One use case a file; each returns a value and prints nothing."""
