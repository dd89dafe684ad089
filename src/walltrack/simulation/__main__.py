"""`python -m walltrack.simulation`: see `command`."""

import sys

# Processes of the simulation import this module, too, and need nothing of the command.
if __name__ == "__main__":
    try:
        from walltrack.simulation.command import main
    except ImportError as _error:
        sys.exit(str(_error))
    main()
