"""The tests, which start many processes: worker processes, examples, programs of their own.

Where the environment turns bytecode files off, as containers often do, each process would compile
every module again, and each worker would rewrite the assertions of every test. That was a quarter
of the processor time of the suite. So the bytecode is kept in the cache folder of pytest, and
nothing is written beside the sources. This has to come before the other imports of the tests.
"""

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
