"""`python -m local.host`, see process.py."""

from local.host.process import run

if __name__ == "__main__":
    run()
