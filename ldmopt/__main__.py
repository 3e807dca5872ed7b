"""The command line as ``python -m ldmopt``."""

from ldmopt.cli import main

if __name__ == "__main__":
    main()
