"""The broker against third-party clients and tests: `make peers`."""
