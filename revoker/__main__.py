"""`python -m revoker` is `revoker`."""

from revoker.cli import main

main()
