"""The version of the library, as the metadata of the installed package has it."""

from importlib.metadata import version
from typing import Final

__version__: Final[str] = version("walltrack")
