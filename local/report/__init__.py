"""What `make run`, `make soak` and `make bench` leave behind: files, charts and a page."""
