"""`python -m ops` is `revoker`."""

from ops.cli import main

main()
