"""The command line of operators and publishers: `revoker`. It is not deployed."""
