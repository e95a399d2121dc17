"""rsnb: the thin package under a research book on image-text retrieval from above.

Import the module that you need (`from rsnb import data, metrics`). Nothing heavy is
loaded here; `book/api.md` says where each module is described.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
