"""Measurements: this function beside its alternatives.

Every variant is a function app that is loaded and invoked as on the platform; only `pacing` knows the
function from inside, as it simulates its rate limiter. Nothing deployed imports any of this.
"""
