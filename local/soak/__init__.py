"""The fault suite, `make soak`: whatever fails, every revocation ends in exactly one place.

scenarios/ says what is done to the local cloud, stage.py how, and invariants.py what must hold
afterwards, by what the broker, the Face API and the function's log say independently.
"""
