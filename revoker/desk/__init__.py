"""The desk: what the command line does, on a page in a browser on this machine.

It listens on this machine only, for clients that have its address with the token. The functions of
`revoker/` do the work on messages; this package adds the pages.
"""
