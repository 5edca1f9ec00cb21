"""Names the Python that is needed: pip alone finds out only after minutes. See pyproject.toml."""

import sys

if sys.version_info < (3, 13):  # noqa: UP036
    version = ".".join(map(str, sys.version_info[:2]))
    sys.exit(
        f"revoker needs Python 3.13, and this is {version}: python3.13 -m pip install '.[ops]'"
    )

from setuptools import setup

setup()
