"""`python -m ofmu` is `ofmu`."""

from ofmu.cli import main

if __name__ == "__main__":
    main()
