"""Measurements: this function beside its alternatives.

Every variant is a function app that the production runtime loads and invokes; only `pacing` imports
from the function, to simulate its rate limiter. Nothing deployed imports any of this.
"""
