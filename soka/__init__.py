__version__ = "0.1.0"
from . import moved as moved
