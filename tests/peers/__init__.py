"""The broker against clients and tests that nobody here wrote: `make peers`."""
