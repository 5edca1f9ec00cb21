"""The verbs of the command line. What they do is in the modules beneath, what they print in output.

A verb imports what it needs when it is called: loading the SDKs takes most of a second, and --help
should not wait for that.
"""
