"""The desk: what the command line does, on a page in a browser on this machine.

It listens on 127.0.0.1 alone, and only for who has its address with the token. What it does with
messages are the functions of `revoker/`; here is what a page needs besides.
"""
