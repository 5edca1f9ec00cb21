"""`python -m revoker` is `revoker`."""

from revoker.cli.app import main

main()
