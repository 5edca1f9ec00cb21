"""What `make run`, `make soak` and `make bench` write: files, charts and a page."""
