"""The version of the library, from the metadata of the installed package."""

from importlib.metadata import version
from typing import Final

__version__: Final[str] = version("walltrack")
