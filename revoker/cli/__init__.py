"""The verbs of the command line. The modules of `revoker` do the work, and `output` prints.

A verb imports what it needs when it is called: loading the SDKs takes most of a second, and --help
should not wait for that.
"""
