"""`python -m rsnb`."""

import sys

from rsnb.cli import main

sys.exit(main())
