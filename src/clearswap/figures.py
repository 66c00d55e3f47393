"""Figures, drawn by matplotlib.

Matplotlib keeps a list of this machine's fonts, in a folder of its own among the user's. Where nobody else in this
process draws with it, that list lies in Clearswap's own cache folder.
"""

import os
import sys

import platformdirs

if "matplotlib" not in sys.modules:
    os.environ.setdefault("MPLCONFIGDIR", platformdirs.user_cache_dir("clearswap"))

from matplotlib.figure import Figure

__all__ = ["Figure"]
