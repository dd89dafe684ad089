"""`python -m walltrack.simulation`: see `command`."""

import sys

# Worker processes of the simulation import this module as well, but do not run the command.
if __name__ == "__main__":
    try:
        from walltrack.simulation.command import main
    except ImportError as _error:
        sys.exit(str(_error))
    main()
